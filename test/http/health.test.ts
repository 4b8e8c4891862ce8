/** Readiness: that what the process does can be done, on each of its ways to the database. */
import { expect, onTestFinished, test } from 'vitest';
import { createHealth } from '../../src/http/health.ts';
import { ownSources, readSources } from '../../src/database/sources.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { freePort } from '../helpers/daemons.ts';

function health(db: TestDatabase, graphql = db.url('flowgres_api'), isWorkerAlive?: () => boolean) {
  const ways = [
    { name: 'graphql', connectionString: graphql },
    { name: 'intake', connectionString: db.url('flowgres_intake') },
  ];
  const made = createHealth({ connectionString: db.url('flowgres_monitor'), ways, isWorkerAlive });
  onTestFinished(() => made.close());
  return made;
}

test('a process is ready where each of its pools can write', async () => {
  const db = await createTestDatabase();
  expect(await health(db).problems()).toEqual([]);
});

test('not where one of them can only read', async () => {
  const db = await createTestDatabase();
  await db.admin.query(`alter role flowgres_intake in database ${db.name} set default_transaction_read_only = on`);
  expect(await health(db).problems()).toEqual(['pool intake: the server is read-only (default_transaction_read_only)']);
});

test('not where the pooler is away', async () => {
  const db = await createTestDatabase();
  const away = Object.assign(new URL(db.url('flowgres_api')), { port: String(await freePort()) }).href;
  expect(await health(db, away).problems()).toEqual([expect.stringMatching(/^pool graphql: the database does not answer: .*ECONNREFUSED/)]);
});

test('not in a copy; that its worker does not run is no further problem there', async () => {
  const db = await createTestDatabase();
  await db.admin.query('update private.installation set system_identifier = 1');
  expect(await health(db, undefined, () => false).problems()).toEqual([expect.stringContaining('is a copy')]);
});

test('however many ask, the database is asked once a second', async () => {
  const db = await createTestDatabase();
  const one = health(db);
  expect(one.problems()).toBe(one.problems());
});

test('the sources of a process stay those it was started from', () => {
  expect(ownSources()).toBe(ownSources());
  expect(ownSources().digest).toBe(readSources().digest);
});

/** An installation that is upgraded has the same schema as a new one, and code can be applied in any order. */
import { readFile } from 'node:fs/promises';
import { compile, migrate as applyCommitted } from 'graphile-migrate';
import type pg from 'pg';
import { expect, test } from 'vitest';
import { withReleased } from '../../tools/released.ts';
import { applyCode, applyFile, installSources } from '../../src/database/apply_sources.ts';
import { connect } from '../../src/database/connections.ts';
import { migrate, migrationSettings, prepareDatabase } from '../../src/database/migrate.ts';
import { scheduleMaintenance } from '../../src/database/schedule_maintenance.ts';
import { LOGIN_ROLES } from '../../src/database/roles.ts';
import { BUILD_FOLDER, type SourceFile, readSources } from '../../src/database/sources.ts';
import { TEST_PASSWORDS } from '../../tools/build-database.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { fingerprint } from './fingerprint.ts';

const CURRENT = new URL('../../migrations/current.sql', import.meta.url);
const sources = readSources();
const code = sources.files.filter(({ kind }) => kind === 'code');

const differences = (wanted: string[], got: string[]) => ({
  missing: wanted.filter((line) => !got.includes(line)),
  extra: got.filter((line) => !wanted.includes(line)),
});
const NONE = { missing: [], extra: [] };

test('the last release, upgraded, is the same as a new installation', async () => {
  const [fresh, upgraded] = await Promise.all([createTestDatabase(), createTestDatabase({ empty: true })]);
  await prepareDatabase(upgraded.adminUrl, TEST_PASSWORDS);
  const client = await connect(upgraded.adminUrl);
  const before = await withReleased(async (released) => {
    await installSources(client, released);
    return { protocol: released.protocol, functions: await calledByProcesses(upgraded.admin) };
  });
  const settings = migrationSettings(upgraded.adminUrl, BUILD_FOLDER);
  await applyCommitted(settings);
  await client.query(`begin; ${await compile(settings, await readFile(CURRENT, 'utf8'))}; commit`);
  await applyCode(client, sources);
  await client.end();
  for (const { adminUrl } of [fresh, upgraded]) await scheduleMaintenance(adminUrl, TEST_PASSWORDS);

  const [wanted, got] = await Promise.all([fingerprint(fresh.admin), fingerprint(upgraded.admin)]);
  expect(wanted.length).toBeGreaterThan(100);
  expect(differences(wanted, got)).toEqual(NONE);

  // What processes of the last release may call is still there, or the protocol says that it is not.
  const functions = await calledByProcesses(upgraded.admin);
  expect(before.functions.length).toBeGreaterThan(50);
  if (before.protocol === sources.protocol) expect(before.functions.filter((each) => !functions.includes(each))).toEqual([]);
});

/** The functions that the roles of processes, and of the requests they serve, may execute. */
async function calledByProcesses(admin: pg.Pool): Promise<string[]> {
  const { rows } = await admin.query<{ name: string }>(
    `select p.oid::regprocedure::text as name
     from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
     where n.nspname in ('public', 'private', 'partitions', 'engine', 'monitor', 'cron') and exists (
       select from unnest($1::text[]) as r where has_function_privilege(r, p.oid, 'execute'))`,
    [[...LOGIN_ROLES, 'flowgres_user', 'flowgres_anonymous']],
  );
  return rows.map(({ name }) => name);
}

test('migrate gives the schema of the sources, and migrating again changes nothing', async () => {
  const [fresh, db] = await Promise.all([createTestDatabase(), createTestDatabase({ empty: true })]);
  await Promise.all([migrate(db.adminUrl, TEST_PASSWORDS), migrate(db.adminUrl, TEST_PASSWORDS)]);
  await scheduleMaintenance(fresh.adminUrl, TEST_PASSWORDS);
  const before = await fingerprint(db.admin);
  expect(differences(await fingerprint(fresh.admin), before)).toEqual(NONE);

  await migrate(db.adminUrl, TEST_PASSWORDS);
  expect(differences(before, await fingerprint(db.admin))).toEqual(NONE);
  expect((await db.admin.query('select from monitor.builds()')).rowCount).toBe(1);
});

test('each code file can be applied again by itself and changes nothing, nor do all of them', async () => {
  const { admin, adminUrl } = await createTestDatabase();
  expect(code.length).toBeGreaterThan(100);
  const before = await fingerprint(admin);
  const client = await connect(adminUrl);
  await client.query('set role flowgres_owner; set search_path to public');
  const apply = async (files: SourceFile[]) => {
    for (const file of files) await applyFile(client, file);
    return differences(before, await fingerprint(admin));
  };
  // Backwards, no file can rely on a later one to restore what it undoes; forwards, on an earlier one.
  expect(await apply(code.toReversed()), 'backwards').toEqual(NONE);
  expect(await apply(code), 'forwards').toEqual(NONE);
  await client.end();
});

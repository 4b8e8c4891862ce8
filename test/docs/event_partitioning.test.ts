import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { connect } from '../../src/database.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { readStatements } from '../helpers/page.ts';
import { lines, partitionsOf } from '../helpers/partitions.ts';

test('all SQL of the page runs, twice', async () => {
  const db = await createTestDatabase();
  const before = await partitionsOf(db, 'workflow_events');
  const file = join(tmpdir(), `${db.name}.csv`);
  const statements = (await readStatements('event-partitioning.md')).map((statement) =>
    statement.replace('/tmp/workflow_events_2024-01.csv', file),
  );
  expect(statements.length).toBeGreaterThan(40);
  const client = await connect(db.adminUrl);
  try {
    for (const round of [1, 2]) {
      for (const statement of statements) {
        await client.query(statement).catch((error: Error) => expect.fail(`round ${round}: ${error.message} in: ${statement}`));
      }
      expect(await readFile(file, 'utf8')).toMatch(/^id,organization_id,run_id,seq,ts,type,payload,created_at\n/);
    }
  } finally {
    await client.end();
    await rm(file, { force: true });
  }
  expect(await partitionsOf(db, 'workflow_events')).toEqual(expect.arrayContaining(before));
  expect(await lines(db, `select count(*) from organizations where slug = 'partitioning-example'`)).toEqual(['0']);
});

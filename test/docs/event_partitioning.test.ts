import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from 'pg';
import { expect, test } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { readStatements } from '../helpers/page.ts';
import { lines, partitionsOf } from '../helpers/partitions.ts';

const PAGE = 'how-to/event-partitioning.md';
/** The partitions, events and runs that the script's example has after it. */
const EXAMPLE = `select (select count(*) from workflow_events where ts < '2025-02-01'),
  to_regclass('workflow_events_y2024m01'), to_regclass('workflow_events_y2025m01')`;

async function run(client: Client, statements: string[], what: string): Promise<void> {
  for (const statement of statements) {
    await client.query(statement).catch((error: Error) => expect.fail(`${what}: ${error.message} in: ${statement}`));
  }
}

test('all SQL of the page runs, twice, and deletes nothing; what destroys data stands apart and wants the example database', async () => {
  const db = await createTestDatabase({ unchecked: true });
  const before = await partitionsOf(db, 'workflow_events');
  const file = join(tmpdir(), `${db.name}.csv`);
  const statements = (await readStatements(PAGE)).map((statement) => statement.replace('/tmp/workflow_events_2024-01.csv', file));
  expect(statements.length).toBeGreaterThan(35);
  const client = await connect(db.adminUrl);
  try {
    for (const round of [1, 2]) {
      await run(client, statements, `round ${round}`);
      expect(await readFile(file, 'utf8')).toMatch(/^id,organization_id,run_id,seq,ts,type,payload,created_at\n/);
      expect(await lines(db, EXAMPLE)).toEqual(['3 workflow_events_y2024m01 workflow_events_y2025m01']);
    }
    expect(await partitionsOf(db, 'workflow_events')).toEqual(expect.arrayContaining(before));

    const destroying = await readStatements(PAGE, 'sql destroys');
    await expect(client.query(destroying[0]!)).rejects.toThrow('not the example database: nothing was dropped');
    const renamed = destroying.map((statement) => statement.replace('flowgres_example', db.name));
    for (const round of [1, 2]) await run(client, renamed, `destroying, round ${round}`);
    expect(await lines(db, EXAMPLE)).toEqual(['0 - -']);
    // It can begin anew.
    await run(client, statements, 'after the end');
    expect(await partitionsOf(db, 'workflow_events')).toEqual(expect.arrayContaining(before));
  } finally {
    await client.end();
    await rm(file, { force: true });
  }
});

test('the SQL of the page that explains it runs, and changes nothing', async () => {
  const db = await createTestDatabase();
  const before = await partitionsOf(db, 'workflow_events');
  const client = await connect(db.adminUrl);
  const statements = await readStatements('explanation/event-partitions.md');
  expect(statements.length).toBeGreaterThan(0);
  await run(client, statements, 'explanation').finally(() => client.end());
  expect(await partitionsOf(db, 'workflow_events')).toEqual(before);
});

test('nothing on the page that destroys data is part of its script', async () => {
  const script = await readStatements(PAGE);
  expect(
    script.filter((statement) =>
      /\bdrop\b|\bdelete\b|\btruncate\b|drop_old|\bretire\((?!dry_run)/i.test(statement.replaceAll(/--.*$/gm, '')),
    ),
  ).toEqual([]);
});

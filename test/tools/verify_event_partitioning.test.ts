import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { createTestDatabase } from '../helpers/database.ts';
import { lines } from '../helpers/partitions.ts';

const SCRIPT = fileURLToPath(new URL('../../tools/verify-event-partitioning.js', import.meta.url));

function verify(environment: Record<string, string>): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [SCRIPT], { env: { PATH: process.env['PATH'], ...environment } }, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, output: stdout + stderr }),
    );
  });
}

test('a sound database passes, and nothing is left behind', async () => {
  const db = await createTestDatabase();
  const traces = () =>
    lines(
      db,
      `select (select count(*) from organizations), (select count(*) from workflow_events), last_value from workflow_events_id_seq`,
    );
  const before = await traces();
  const { code, output } = await verify({ DATABASE_URL: db.adminUrl });
  expect(output).toMatch(/Event partitioning works\.\n$/);
  expect(code).toBe(0);
  expect(await traces()).toEqual(before);
});

test('the running Flowgres is found by its connection file', async () => {
  const db = await createTestDatabase();
  const folder = await mkdtemp(join(tmpdir(), 'flowgres-verify-'));
  await writeFile(join(folder, 'connection.json'), JSON.stringify({ databaseUrl: db.adminUrl }));
  expect(await verify({ FLOWGRES_DATA: folder })).toMatchObject({ code: 0 });
  await rm(folder, { recursive: true });
});

test.each([
  ['a missing month', `drop table workflow_events_y${monthFromNow(2)}`, 'there are partitions for this month'],
  ['lost row-level security', 'alter table workflow_events disable row level security', 'the tables are partitioned'],
  [
    'an open partition',
    `grant select on workflow_events_y${monthFromNow(1)} to flowgres_user`,
    'each partition has its indexes and is closed',
  ],
  ['a missing function', 'drop function get_workflow_run_events', 'the functions and the view are there'],
  ['inserts that fail', 'alter table workflow_events add constraint never check (false) not valid', 'events can be inserted'],
])('%s fails loudly', async (_case, damage, check) => {
  const db = await createTestDatabase({ unchecked: true });
  await db.admin.query(damage);
  const { code, output } = await verify({ DATABASE_URL: db.adminUrl });
  expect(output).toContain(`FAILED  ${check}`);
  expect(code).toBe(1);
});

test('without a database it says what to do', async () => {
  const { code, output } = await verify({ FLOWGRES_DATA: '/nowhere' });
  expect(output).toContain('Set DATABASE_URL, or start Flowgres');
  expect(code).toBe(1);
});

function monthFromNow(months: number): string {
  const now = new Date();
  const month = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + months));
  return month.toISOString().slice(0, 7).replace('-', 'm');
}

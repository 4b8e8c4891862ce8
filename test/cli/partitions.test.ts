import { expect, test } from 'vitest';
import { finishCli, temporaryFolder } from '../helpers/cli.ts';
import { TEST_SECRET } from '../../tools/build-database.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { lines } from '../helpers/partitions.ts';

test.each([
  ['verify', 'partitions'],
  ['partitions', 'freeze'],
  ['partitions', 'index'],
])('flowgres %s %s --help shows an example', async (...command) => {
  const { code, output } = await finishCli([...command, '--help']);
  expect(code).toBe(0);
  expect(output).toMatch(/Examples?:\n +.*flowgres /);
});

test('partitions are verified, frozen, and get an index', async () => {
  const db = await createTestDatabase();
  const environment = { DATABASE_URL: db.adminUrl, FLOWGRES_SECRET: TEST_SECRET };
  expect(await finishCli(['verify', 'partitions', '--database-url', db.adminUrl])).toEqual({
    code: 0,
    output: expect.stringMatching(/^ok {6}the tables are partitioned[\s\S]*\nEvent partitioning works\.\n$/),
  });
  const frozen = await finishCli(['partitions', 'freeze'], environment);
  expect(frozen).toEqual({
    code: 0,
    output: expect.stringMatching(/ {2}1\/\d+ {2}vacuum \(freeze\) public\.[\s\S]*partitions are frozen\.\n$/),
  });
  expect(await finishCli(['partitions', 'freeze'], environment)).toEqual({ code: 0, output: 'No partition needs freezing.\n' });

  const index = ['partitions', 'index', 'public.workflow_events', 'workflow_events_seq_idx', '(run_id, seq)'];
  expect(await finishCli(index, environment)).toEqual({
    code: 0,
    output: expect.stringMatching(/workflow_events_seq_idx is complete\.\n$/),
  });
  expect(await finishCli(index, environment)).toEqual({ code: 0, output: 'workflow_events_seq_idx is complete already.\n' });
  expect(await lines(db, `select indisvalid from pg_index where indexrelid = 'workflow_events_seq_idx'::regclass`)).toEqual(['true']);
}, 60_000);

test('a failed check is printed and exits with 1', async () => {
  const db = await createTestDatabase();
  await db.admin.query('alter table workflow_events disable row level security');
  const { code, output } = await finishCli(['verify', 'partitions'], { DATABASE_URL: db.adminUrl });
  expect(code).toBe(1);
  expect(output).toMatch(/FAILED {2}the tables are partitioned by range and have row-level security: workflow_events\n/);
  // Two streams come in any order.
  expect(output).toMatch(/^flowgres: Event partitioning is not verified: [23] of 9 checks failed\.$/m);
  const nowhere = await finishCli(['verify', 'partitions'], { FLOWGRES_DATA: await temporaryFolder() });
  expect(nowhere).toEqual({ code: 1, output: expect.stringContaining('There is no database. Set DATABASE_URL, or start Flowgres') });
});

import pg from 'pg';
import { expect, test } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { readStatements } from '../helpers/page.ts';
import { lines } from '../helpers/partitions.ts';

test('all SQL of the page runs, twice, and the way back gives the table as it was', async () => {
  const db = await createTestDatabase();
  const statements = await readStatements('how-to/partitions.md');
  expect(statements.length).toBeGreaterThan(50);
  const client = await connect(db.adminUrl);
  const describe = async () => {
    const facts = await lines(
      db,
      `select replace(d, ' ON ONLY ', ' ON ') from partitions.description('lab.measurements') as d
       union all select replace(d, ' not valid', '') from partitions.referring_key_statements('lab.measurements') as d
       union all select format('%s %s', count(*), sum(value)) from lab.measurements
       union all select pg_get_serial_sequence('lab.measurements', 'id')
       union all select column_name || column_default from information_schema.columns where table_schema = 'lab' and table_name = 'measurements'
       order by 1`,
    );
    const [kind] = await lines(db, `select relkind from pg_class where oid = 'lab.measurements'::regclass`);
    return { kind, facts };
  };
  for (const round of [1, 2]) {
    const described: Awaited<ReturnType<typeof describe>>[] = [];
    for (const statement of statements) {
      if (/^\s*(?:call partitions.convert|begin)/i.test(statement)) described.push(await describe());
      await client.query(statement).catch((error: Error) => expect.fail(`round ${round}: ${error.message} in: ${statement}`));
      if (/call partitions.split/i.test(statement)) described.push(await describe());
    }
    // Plain, split, before the way back, plain again, split again.
    expect(described.map(({ kind }) => kind)).toEqual(['r', 'p', 'p', 'r', 'p']);
    for (const { facts } of described) expect(facts).toEqual(described[0]!.facts);
    expect(described[0]!.facts).toHaveLength(12);
  }
  await client.end();
  expect(await lines(db, `select parent from partitions.managed_tables where parent::text ~ '^(lab[.]|[0-9])'`)).toEqual([]);
}, 60_000);

test('pg_cron can freeze: one job makes the next VACUUM the command of another', async () => {
  const db = await createTestDatabase();
  const client = new pg.Client(db.adminUrl);
  await client.connect();
  const plan = `select cron.schedule('freeze', '5-59/10 3-5 * * *', coalesce(
    (select statement from partitions.freeze_statements() as statement limit 1), 'select'))`;
  const commands: string[] = [];
  do {
    await client.query(plan);
    const { rows } = await client.query<{ command: string }>(`select command from cron.job where jobname = 'freeze'`);
    commands.push(rows[0]!.command);
    await client.query(rows[0]!.command);
  } while (commands.at(-1) !== 'select' && commands.length < 50);
  await client.end();
  expect(commands.at(0)).toMatch(/^vacuum \(freeze\) public\.\w+_y\d{4}/);
  expect(commands.at(-1)).toBe('select');
  expect(new Set(commands).size).toBe(commands.length);
});

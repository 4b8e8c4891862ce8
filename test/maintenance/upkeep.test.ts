import { expect, test } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { buildIndex, freezePartitions } from '../../src/maintenance/upkeep.ts';
import type { TestDatabase } from '../helpers/database.ts';
import { createLog, databaseAt, lines, manageReadings } from '../helpers/partitions.ts';

const INDEX = { table: 'public.readings', name: 'readings_note_idx', definition: '(note, ts desc) where value > 0' };
const url = (db: TestDatabase) => db.url('flowgres_maintenance');
const isComplete = `select indisvalid, (select count(*) from pg_inherits where inhparent = indexrelid) = (select count(*) from partitions.of('readings'))
  from pg_index where indexrelid = 'readings_note_idx'::regclass`;

async function withReadings(): Promise<TestDatabase> {
  const db = await databaseAt('2026-11-21');
  await manageReadings(db);
  await db.admin.query(`
    select partitions.maintain('readings');
    insert into readings (ts, value, note) select '2026-11-21', i, 'note ' || i from generate_series(1, 500) as i`);
  return db;
}

test('closed partitions are frozen, once', async () => {
  const db = await databaseAt('2026-11-21');
  const { addRun } = await createLog(db);
  await addRun('2026-09-15');
  const seen: string[] = [];
  const results = await freezePartitions(url(db), {
    onStatement: (statement, number, count) => seen.push(`${number}/${count} ${statement}`),
  });
  expect(results).toContainEqual({ statement: 'vacuum (freeze) public.workflow_events_y2026m09' });
  expect(seen).toHaveLength(results.length);
  expect(seen[0]).toMatch(new RegExp(`^1/${results.length} vacuum `));
  expect(await lines(db, `select age(relfrozenxid) < 1000 from pg_class where relname = 'workflow_events_y2026m09'`)).toEqual(['true']);
  expect(await freezePartitions(url(db))).toEqual([]);
});

test('while one session freezes, others do not; and it can be stopped', async () => {
  const db = await databaseAt('2026-11-21');
  const [reader, stop] = [await connect(db.adminUrl), new AbortController()];
  await reader.query('begin; lock table workflow_events_y2026m09 in share update exclusive mode');
  const waiting = freezePartitions(url(db), { signal: stop.signal });
  await expect
    .poll(() => lines(db, `select query from pg_stat_activity where wait_event_type = 'Lock' and query ~ '^vacuum'`))
    .toHaveLength(1);
  expect(await freezePartitions(url(db))).toEqual([]);
  stop.abort();
  await expect(waiting).rejects.toThrow();
  await reader.end();
  expect((await freezePartitions(url(db))).length).toBeGreaterThan(0);
});

test('an index is built on each partition, and those that are made meanwhile get it', async () => {
  const db = await withReadings();
  let made = false;
  const results = await buildIndex(url(db), INDEX, {
    onStatement: () => {
      if (made) return;
      made = true;
      void db.admin.query(`select partitions.create('readings', '2028-01-01')`);
    },
  });
  expect(results.length).toBeGreaterThan(8);
  await expect.poll(() => lines(db, `select name from partitions.of('readings') where name = 'readings_y2028m01'`)).toHaveLength(1);
  expect(await lines(db, isComplete)).toEqual(['true true']);
  expect(await lines(db, `select pg_get_indexdef('readings_y2026m11_note_idx'::regclass)`)).toEqual([
    'CREATE INDEX readings_y2026m11_note_idx ON public.readings_y2026m11 USING btree (note, ts DESC) WHERE (value > 0)',
  ]);
  await db.admin.query(`select partitions.create('readings', '2028-02-01')`);
  expect(await lines(db, isComplete)).toEqual(['true true']);
  expect(await buildIndex(url(db), INDEX)).toEqual([]);
});

test('a partition that somebody attaches meanwhile has the index already, whatever its name', async () => {
  const db = await withReadings();
  const [first] = await lines(db, `select partitions.build_index('readings', 'readings_note_idx', '${INDEX.definition}')`);
  await db.admin.query(`${first}`);
  await db.admin.query(
    `create table mine (like readings including all);
     alter table readings attach partition mine for values from ('2031-01-01') to ('2031-02-01')`,
  );
  await buildIndex(url(db), INDEX);
  expect(await lines(db, isComplete)).toEqual(['true true']);
});

test('a build that was interrupted after any statement goes on, and one that was killed is built anew', async () => {
  const first = await withReadings();
  const plan = (db: TestDatabase) =>
    lines(db, `select partitions.build_index('readings', 'readings_note_idx', '(note, ts desc) where value > 0')`);
  const statements = await plan(first);
  for (let done = 0; done < statements.length; done += 2) {
    const db = await withReadings();
    for (const statement of statements.slice(0, done)) await db.admin.query(statement);
    await buildIndex(url(db), INDEX);
    expect(await lines(db, isComplete)).toEqual(['true true']);
    await db.drop();
  }
  // A killed CREATE INDEX CONCURRENTLY leaves an index that is not valid.
  await first.admin.query(`${statements[0]}`);
  const writer = await connect(first.adminUrl);
  await writer.query(`begin; insert into readings (ts, value) values ('2026-11-21', 1)`);
  const create = statements.find((statement) => statement.includes('concurrently readings_y2026m11_note_idx'))!;
  const killed = first.admin.query(create).catch((error: { code: string }) => error.code);
  await expect
    .poll(() => lines(first, `select 1 from pg_stat_activity where query = $1 and wait_event_type = 'Lock'`, [create]))
    .toHaveLength(1);
  await first.admin.query(`select pg_terminate_backend(pid) from pg_stat_activity where query = $1`, [create]);
  expect(await killed).toBe('57P01');
  await writer.query('commit');
  await writer.end();
  expect(await plan(first)).toContain('drop index concurrently public.readings_y2026m11_note_idx');
  await buildIndex(url(first), INDEX);
  expect(await lines(first, isComplete)).toEqual(['true true']);
}, 60_000);

test('an index that cannot be built is an error that says why and how to go on', async () => {
  const db = await withReadings();
  await db.admin.query(`insert into readings (ts, value) values ('2026-11-21', 1), ('2026-11-21', 1)`);
  const unique = { table: 'public.readings', name: 'readings_one_idx', definition: '(ts, value)', unique: true };
  await expect(buildIndex(url(db), unique)).rejects.toMatchObject({
    code: 'INDEX_INCOMPLETE',
    message: expect.stringContaining('could not create unique index'),
    hint: expect.stringContaining('Run the same command again'),
  });
  await db.admin.query('truncate readings');
  await buildIndex(url(db), unique);
  expect(await lines(db, `select indisvalid, indisunique from pg_index where indexrelid = 'readings_one_idx'::regclass`)).toEqual([
    'true true',
  ]);
});

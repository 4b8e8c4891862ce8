import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type DurableServer, startDurable } from '../helpers/durable.ts';
import { lines } from '../helpers/partitions.ts';

const ROWS = 100_000;
const KILLS = 3;

let server: DurableServer;
beforeAll(async () => {
  server = await startDurable('conversion');
});
afterAll(() => server.stop());

/** What is asked again until there is an answer: the server recovers for a moment after a crash. */
async function persistently<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (attempt > 300) throw error;
      await delay(50);
    }
  }
}

test('kill -9 of the backend that splits, again and again while somebody writes, loses nothing and doubles nothing', async () => {
  const { db } = server;
  await db.admin.query(`
    set role flowgres_owner;
    create table readings (id bigserial, ts timestamptz not null, value int, note text, constraint readings_pkey primary key (id, ts));
    create index readings_value_idx on readings (value);
    insert into readings (ts, value, note) select now() - i * interval '10 minutes', i, repeat('x', 100) from generate_series(1, ${ROWS}) as i;
    reset role`);
  await db.admin.query(`call partitions.convert('readings', 'ts', 'year')`);

  let writing = true;
  const written = { certainly: [] as number[], perhaps: [] as number[] };
  const write = async () => {
    for (let value = ROWS + 1; writing; value += 1) {
      await db.admin
        .query(`with gone as (delete from readings where value = $1) insert into readings (ts, value) values (now(), $2)`, [
          value - ROWS,
          value,
        ])
        .then(() => written.certainly.push(value))
        .catch(() => written.perhaps.push(value));
      await delay(5);
    }
  };
  const writer = write();

  let kills = 0;
  for (let [state, goal] = ['', 1]; state !== 'done'; ) {
    let splits = true;
    const splitting = db.admin
      .query(`call partitions.split('readings')`)
      .catch(() => undefined)
      .finally(() => (splits = false));
    while (splits) {
      await delay(5);
      const [line] = await persistently(() => lines(db, 'select state, copied_blocks from partitions.conversions'));
      const blocks = Number(line!.split(' ')[1]);
      if (blocks < goal || kills === KILLS) continue;
      const [pid] = await persistently(() => lines(db, `select pid from pg_stat_activity where query ~ '^call partitions.split'`));
      if (!pid) continue;
      process.kill(Number(pid), 'SIGKILL');
      kills += 1;
      goal = blocks + 500;
      break;
    }
    await splitting;
    [state] = (await persistently(() => lines(db, 'select state from partitions.conversions'))) as [string];
  }
  writing = false;
  await writer;

  expect(kills).toBe(KILLS);
  expect(await lines(db, 'select count(*) - count(distinct value) from readings')).toEqual(['0']);
  const { rows } = await db.admin.query<{ value: number }>('select value from readings order by value');
  const present = new Set(rows.map(({ value }) => value));
  expect(written.certainly.filter((value) => !present.has(value) || present.has(value - ROWS))).toEqual([]);
  const touched = written.certainly.length + written.perhaps.length;
  expect([...present].filter((value) => value > touched && value <= ROWS)).toHaveLength(ROWS - touched);
  expect(await lines(db, `select state, historic, copy from partitions.conversions`)).toEqual(['done - -']);
}, 120_000);

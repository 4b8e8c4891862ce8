/** A large table becomes partitioned while clients insert, update and delete in it. */
import pg from 'pg';
import { expect, test } from 'vitest';
import { createTestDatabase } from '../helpers/database.ts';
import { lines } from '../helpers/partitions.ts';

const ROWS = 300_000;
const WRITERS = 3;
const LONGEST_WAIT = '2s';

test('converting a large table loses and doubles nothing, fails no writer, and none waits long for a lock', async () => {
  const db = await createTestDatabase();
  await db.admin.query(`
    set role flowgres_owner;
    create table readings (
      id bigserial, ts timestamptz not null default now(), value int not null, note text,
      constraint readings_pkey primary key (id, ts)
    );
    create index readings_ts_idx on readings (ts);
    insert into readings (ts, value, note)
    select now() - (${ROWS} - i) * interval '1 minute', 0, 'reading ' || i from generate_series(1, ${ROWS}) as i;
    reset role`);

  let converting = true;
  const counts = { inserted: 0, updated: 0, deleted: 0 };
  /** What each writer has left in the table: id and value. */
  const write = async (writer: number): Promise<Map<number, number>> => {
    const client = new pg.Client(db.adminUrl);
    await client.connect();
    await client.query(`set lock_timeout = '${LONGEST_WAIT}'`);
    const own = new Map<number, number>();
    const run = async (text: string, values: unknown[]): Promise<number | undefined> => {
      const { rows } = await client.query<{ id: number }>({ text, values, name: text.slice(0, 40) });
      return rows[0]?.id;
    };
    for (let count = 1; converting; count += 1) {
      const inserted = await run('insert into readings (value, note) values ($1, $2) returning id', [count, `writer ${writer}`]);
      own.set(inserted!, count);
      counts.inserted += 1;
      // An old row of this writer's share, each once.
      const old = count * WRITERS + writer;
      if (count % 2) {
        await run('update readings set value = $2 where id = $1 returning id', [old, count]);
        own.set(old, count);
        counts.updated += 1;
      } else {
        await run('delete from readings where id = $1 returning id', [old]);
        own.set(old, -1);
        counts.deleted += 1;
      }
      const [recent, value] = [...own].at(-3) ?? [inserted!, 0];
      if (value > 0) {
        await run('update readings set value = value + 1 where id = $1 returning id', [recent]);
        own.set(recent, value + 1);
      }
    }
    await client.end();
    return own;
  };
  const writers = Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer)));

  try {
    await db.admin.query(`call partitions.convert('readings', 'ts')`);
    expect(await lines(db, `select name from partitions.of('readings')`)).toEqual(['readings_historic']);
    await db.admin.query(`call partitions.split('readings')`);
  } finally {
    converting = false;
  }
  const expected = new Map((await writers).flatMap((own) => [...own]));

  expect(counts.inserted).toBeGreaterThan(100);
  const { rows } = await db.admin.query<{ id: number; value: number }>('select id, value from readings where value <> 0 order by id');
  const present = new Map(rows.map(({ id, value }) => [id, value]));
  expect(present.size).toBe(rows.length);
  expect(present).toEqual(new Map([...expected].filter(([, value]) => value > 0).sort(([a], [b]) => a - b)));
  expect(await lines(db, 'select count(*), count(distinct id) from readings')).toEqual([
    `${ROWS + counts.inserted - counts.deleted} ${ROWS + counts.inserted - counts.deleted}`,
  ]);
  expect(await lines(db, `select state, historic, copy from partitions.conversions`)).toEqual(['done - -']);
  expect(await lines(db, `select relname from pg_class where relname ~ 'readings.*(historic|split)'`)).toEqual([]);
  // One partition for each month that the rows span, on whatever day this runs.
  const months = `select count(distinct date_trunc('month', ts, 'UTC')) = count(distinct tableoid), count(distinct tableoid) > 6 from readings`;
  expect(await lines(db, months)).toEqual(['true true']);
}, 120_000);

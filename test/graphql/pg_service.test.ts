import type { WithPgClient } from 'postgraphile/@dataplan/pg';
import { beforeEach, expect, test } from 'vitest';
import { createPool } from '../../src/database/connections.ts';
import { ConnectionShare } from '../../src/limits/connection_share.ts';
import { pipelinedService } from '../../src/graphql/pg_service.ts';
import { Reading, SharedReads } from '../../src/graphql/shared_reads.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';

let db: TestDatabase;
let withPgClient: WithPgClient;
const USER = { role: 'flowgres_user', 'flowgres.session': 'a session', 'flowgres.request_id': undefined, statement_timeout: '10s' };

beforeEach(async () => {
  db = await createTestDatabase();
  // One connection, so that what one request leaves behind the next one meets.
  const pool = createPool(db.url('flowgres_api'), { name: 'test', max: 1 });
  withPgClient = await pipelinedService(pool, ['public']).adaptor.createWithPgClient(undefined);
  return () => pool.end();
});

const ask = async (settings: Record<string, string | undefined> | null, text: string, name?: string, values: unknown[] = []) => {
  const { rows } = await withPgClient(settings, (client) => client.query({ text, values, arrayMode: true, ...(name && { name }) }));
  return rows;
};
const WHO = `select current_user, current_setting('flowgres.session', true)`;

test('a statement sees the settings of its request, and the next one nothing of them', async () => {
  expect(await ask(USER, WHO, 'who')).toEqual([['flowgres_user', 'a session']]);
  expect(await ask(null, WHO)).toEqual([['flowgres_api', '']]);
  expect(await ask({ ...USER, role: 'flowgres_anonymous', 'flowgres.session': '' }, WHO, 'who')).toEqual([['flowgres_anonymous', '']]);
});

test('rows are objects unless arrays are asked for, and values are bound', async () => {
  const { rows, rowCount } = await withPgClient(USER, (client) => client.query({ text: 'select $1::int + 1 as next', values: [41] }));
  expect({ rows, rowCount }).toEqual({ rows: [{ next: 42 }], rowCount: 1 });
});

test('a statement that fails leaves nothing behind, and may be sent again', async () => {
  const half = `select 1 / $1::int, set_config('flowgres.session', 'left over', false)`;
  await expect(ask(USER, half, 'half', [0])).rejects.toMatchObject({ code: '22012' });
  expect(await ask(null, WHO)).toEqual([['flowgres_api', '']]);
  expect(await ask(USER, half, 'half', [1])).toEqual([[1, 'left over']]);
  await expect(ask(USER, 'select nonsense', 'nonsense')).rejects.toMatchObject({ code: '42703' });
  await expect(ask(USER, 'select nonsense', 'nonsense')).rejects.toMatchObject({ code: '42703' });
});

test('with settings that are refused the statement is not executed', async () => {
  await expect(ask({ role: 'postgres' }, WHO, 'who')).rejects.toMatchObject({ code: '42501' });
  expect(await ask(USER, WHO, 'who')).toEqual([['flowgres_user', 'a session']]);
});

test('what fails at the very end of the transaction fails, and is undone', async () => {
  await db.admin.query(`
    create table public.promises (id int primary key, kept int references public.promises deferrable initially deferred);
    grant select, insert on public.promises to flowgres_user`);
  await expect(ask(USER, 'insert into public.promises values (1, 2)')).rejects.toMatchObject({ code: '23503' });
  expect(await ask(USER, 'select * from public.promises')).toEqual([]);
});

test('a statement is stopped by the timeout of its request', async () => {
  await expect(ask({ ...USER, statement_timeout: '20ms' }, 'select pg_sleep(10)', 'sleep')).rejects.toMatchObject({ code: '57014' });
  expect(await ask(USER, `select current_setting('statement_timeout')`)).toEqual([['10s']]);
});

test('the statement of testWorkflow has a time limit of its own', async () => {
  const limit = `select current_setting('statement_timeout')`;
  expect(await ask(USER, limit)).toEqual([['10s']]);
  expect(await ask(USER, `${limit} /* "public"."test_workflow"() */`)).toEqual([['2s']]);
});

test('several statements of one request may share a transaction', async () => {
  const seen = await withPgClient(USER, (client) =>
    client.withTransaction(async (transaction) => {
      await transaction.query({ text: `select set_config('flowgres.session', 'another', true)` });
      return transaction.query({ text: WHO, arrayMode: true });
    }),
  );
  expect(seen.rows).toEqual([['flowgres_user', 'another']]);
  expect(await ask(null, WHO)).toEqual([['flowgres_api', '']]);
});

test('a connection keeps the hundred statements that were used last', async () => {
  for (let index = 0; index < 130; index += 1) {
    expect(await ask(USER, `select ${index}`, `number ${index}`)).toEqual([[index]]);
    expect(await ask(USER, WHO, 'who')).toEqual([['flowgres_user', 'a session']]);
  }
  const [[kept, has]] = (await ask(null, `select count(*)::int, bool_or(name = 'who') from pg_prepared_statements`)) as [[number, boolean]];
  // With the one of the settings.
  expect([kept, has]).toEqual([101, true]);
  expect(await ask(USER, 'select 0', 'number 0')).toEqual([[0]]);
});

test('a lost connection is an error once, and replaced', async () => {
  expect(await ask(USER, WHO, 'who')).toHaveLength(1);
  const lost = expect(ask(USER, 'select pg_sleep(10)', 'sleep')).rejects.toThrow(/terminat/);
  const backend = `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query like '%pg_sleep%' and pid <> pg_backend_pid()`;
  await expect.poll(async () => (await db.admin.query(backend)).rowCount).toBe(1);
  await lost;
  expect(await ask(USER, WHO, 'who')).toEqual([['flowgres_user', 'a session']]);
});

test('who sends many statements at once leaves connections for others', async () => {
  const pool = createPool(db.url('flowgres_api'), { name: 'test', max: 6 });
  const share = new ConnectionShare(6, () => null);
  withPgClient = await pipelinedService(pool, ['public'], { connections: share }).adaptor.createWithPgClient(undefined);
  const holder = await db.admin.connect();
  await holder.query('select pg_advisory_lock(7)');
  const all = Promise.all(Array.from({ length: 10 }, () => ask(USER, 'select true from (select pg_advisory_xact_lock_shared(7)) as l')));
  const waiting = async () =>
    (await holder.query(`select count(*)::int from pg_locks where locktype = 'advisory' and not granted`)).rows[0].count;
  await expect.poll(waiting).toBe(2);
  expect(await ask({ ...USER, 'flowgres.session': 'another' }, 'select 1')).toEqual([[1]]);
  expect(await waiting()).toBe(2);
  await holder.query('select pg_advisory_unlock(7)');
  holder.release();
  expect(await all).toHaveLength(10);
  await pool.end();
});

test('what subscribers are told of one reading is read once for the same statement, and again for the next reading', async () => {
  const pool = createPool(db.url('flowgres_api'), { name: 'test', max: 1 });
  const reads = new SharedReads();
  withPgClient = await pipelinedService(pool, ['public'], { reads }).adaptor.createWithPgClient(undefined);
  const [first, second] = [{ ...USER }, { ...USER }];
  // Each execution has a number of its own.
  const number = (settings: typeof USER) => ask(settings, 'select pg_current_xact_id()::text, $1::int', undefined, [1]);
  const reading = reads.newReading();
  for (const each of [first, second]) reads.tellOf(each, reading);
  const [one, other] = await Promise.all([number(first), number(second)]);
  expect(one).toEqual(other);
  expect(await number(first)).toEqual(one);
  expect(await ask(first, 'select $1::int', undefined, [1])).toEqual([[1]]);
  expect(await number({ ...USER })).not.toEqual(one);
  reads.tellOf(first, reads.newReading());
  expect(await number(first)).not.toEqual(one);
  expect(await number(second)).toEqual(one);
  // One that is too old tells nothing.
  reads.tellOf(second, new Reading(0));
  expect(await number(second)).not.toEqual(await number(second));
  await pool.end();
});

test('what could not be read is read again', async () => {
  const reading = new SharedReads().newReading();
  await expect(reading.once('a', () => Promise.reject(new Error('lost')))).rejects.toThrow('lost');
  expect(await reading.once('a', async () => 1)).toBe(1);
  expect(await reading.once('a', async () => 2)).toBe(1);
});

/** Tables of an application that are watched: what changes there starts runs, in the transaction of the change. */
import type pg from 'pg';
import { beforeAll, expect, test } from 'vitest';
import { codeOf, createApplication, grantApplication } from '../../../helpers/application.ts';
import { createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

const db = await createTestDatabase();
const driver = new Driver(db);
const { role: APP, pool: app } = await createApplication(db);
let acme: TestOrganization;
let changed: TestWorkflow;

beforeAll(async () => {
  acme = await createOrganization(db, 'Acme');
  await grantApplication(db, APP, acme);
  await db.admin.query(`
    create table orders (id int primary key, status text not null default 'new', total numeric, note text);
    grant select, insert, update, delete on orders to ${APP}`);
  changed = await publishWorkflow(
    acme,
    chain({ id: 'table', type: 'tableTrigger' }, { id: 'seen', type: 'set', properties: { assign: { count: '{{ $.input.rows }}' } } }),
    'changed',
  );
});
const watch = (more = '') => db.admin.query<{ id: string }>(`select engine.watch_table('orders', $1${more}) as id`, [changed.id]);
/** Executes a statement of the application. Resolves to the inputs of the runs that it has started. */
const inputsOf = async (statement: string, values: unknown[] = []): Promise<unknown[]> => {
  const client = await app.connect();
  try {
    await client.query('begin');
    await client.query(statement, values);
    const { rows } = await client.query<{ id: string }>('select id from flowgres_runs where started_at >= now() order by id');
    await client.query('commit');
    const { rows: inputs } = await db.admin.query<{ input: unknown }>(
      `select i as input from workflow_runs as r, workflow_runs_input(r) as i where r.id = any ($1) order by (i #>> '{rows,0,new,id}')::int`,
      [rows.map(({ id }) => id)],
    );
    return inputs.map(({ input }) => input);
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
};
const fields = (id: number, more: Record<string, unknown> = {}) => ({ id, status: 'new', total: 10, note: null, ...more });

test('starts one run per statement, with the old and the new version of each row', async () => {
  await watch();
  expect(await inputsOf('insert into orders (id, total) values (1, 10), (2, 10)')).toEqual([
    { table: 'public.orders', operation: 'insert', rows: [{ new: fields(1) }, { new: fields(2) }] },
  ]);
  expect(await inputsOf(`update orders set id = 3 - id + 10, status = 'paid'`)).toEqual([
    {
      table: 'public.orders',
      operation: 'update',
      rows: [
        { old: fields(1), new: fields(12, { status: 'paid' }) },
        { old: fields(2), new: fields(11, { status: 'paid' }) },
      ],
    },
  ]);
  expect(await inputsOf('update orders set note = note')).toEqual([]);
  expect(await inputsOf('delete from orders where id = 11')).toEqual([
    { table: 'public.orders', operation: 'delete', rows: [{ old: fields(11, { status: 'paid' }) }] },
  ]);
  expect(await inputsOf('delete from orders where false')).toEqual([]);
  expect((await db.admin.query(`select mode, application from workflow_runs where workflow_id = $1 limit 1`, [changed.id])).rows).toEqual([
    { mode: 'table', application: APP },
  ]);
});

test('starts runs for the operations, columns and rows that were asked for, and follows a renamed column', async () => {
  await watch(`, operations => '{insert,update}', columns => '{id,status}', condition => '$.new.total > 100'`);
  expect(await inputsOf(`insert into orders (id, total) values (20, 101), (21, 100)`)).toEqual([
    { table: 'public.orders', operation: 'insert', rows: [{ new: { id: 20, status: 'new' } }] },
  ]);
  expect(await inputsOf(`update orders set note = 'x'`)).toEqual([]);
  expect(await inputsOf('delete from orders where id = 21')).toEqual([]);
  await db.admin.query('alter table orders rename column status to state; alter table orders add column lines jsonb');
  expect(await inputsOf(`update orders set state = 'paid' where id = 20`)).toEqual([
    { table: 'public.orders', operation: 'update', rows: [{ old: { id: 20, state: 'new' }, new: { id: 20, state: 'paid' } }] },
  ]);
  await db.admin.query('alter table orders rename column state to status; alter table orders drop column lines');
});

test('cuts the rows of a statement into batches, and refuses one that would start too many runs', async () => {
  await watch(`, operations => '{insert}', batch => 2`);
  const inputs = (await inputsOf('insert into orders (id) select generate_series(100, 104)')) as { rows: unknown[] }[];
  expect(inputs.map(({ rows }) => rows.length)).toEqual([2, 2, 1]);
  const large = (await inputsOf(
    `insert into orders (id, note) select n, repeat('x', 300000) from generate_series(200, 201) as n`,
  )) as unknown[];
  expect(large.length).toBe(1);
  expect(await codeOf(inputsOf('insert into orders (id) select generate_series(1000, 1200)'))).toBe('TOO_LARGE');
  expect((await db.admin.query('select from orders where id >= 1000')).rowCount).toBe(0);
  await watch(`, operations => '{insert}', batch => 1000`);
  const split = (await inputsOf(`insert into orders (id, note) select n, repeat('x', 300000) from generate_series(300, 303) as n`)) as {
    rows: unknown[];
  }[];
  expect(split.map(({ rows }) => rows.length)).toEqual([2, 2]);
});

test('fails the statement when no run can be started, unless the runs are not required', async () => {
  const draft = await acme.user.query<{ id: string }>(`select id from create_workflow('draft', '{"nodes": [], "connections": []}')`);
  const watchDraft = (more: string) => db.admin.query(`select engine.watch_table('orders', $1, '{delete}'${more})`, [draft.rows[0]!.id]);
  await watchDraft('');
  expect(await codeOf(app.query('delete from orders'))).toBe('NOT_PUBLISHED');
  await watchDraft(', required => false');
  expect(await codeOf(app.query('delete from orders'))).toBe('ok');
  await db.admin.query(`select engine.unwatch_table('orders', $1)`, [draft.rows[0]!.id]);
});

test('a chain of runs that change the table which starts them ends after ten', async () => {
  await watch(`, operations => '{insert}'`);
  let cause: string | null = null;
  const started: number[] = [];
  for (let round = 0; round < 12; round += 1) {
    const client: pg.PoolClient = await app.connect();
    await client.query('begin');
    if (cause) await client.query('select flowgres_caused_by($1)', [cause]);
    await client.query('insert into orders (id) values ($1)', [500 + round]);
    const { rows }: pg.QueryResult<{ id: string }> = await client.query('select id from flowgres_runs where started_at >= now()');
    await client.query('commit');
    client.release();
    started.push(rows.length);
    cause = rows[0]?.id ?? cause;
  }
  expect(started).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0]);
});

test('what a node of SQL writes is caused by its run', async () => {
  await db.admin.query(`
    create schema custom;
    grant usage on schema custom to flowgres_owner;
    grant insert on orders to flowgres_sql;
    create function custom.copy_order(properties jsonb, prev jsonb, inputs jsonb) returns jsonb language plpgsql volatile security definer
      set search_path = pg_catalog, pg_temp as $$begin
        insert into public.orders (id) values ((prev #>> '{rows,0,new,id}')::int + 1);
        return prev;
      end$$;
    alter function custom.copy_order(jsonb, jsonb, jsonb) owner to flowgres_sql;
    select engine.register_node('copyOrder', 'custom.copy_order(jsonb, jsonb, jsonb)'::regprocedure, 'local')`);
  const copying = await publishWorkflow(acme, chain({ id: 'table', type: 'tableTrigger' }, { id: 'copy', type: 'copyOrder' }), 'copying');
  await db.admin.query(`select engine.watch_table('orders', $1, '{insert}')`, [copying.id]);
  await app.query('insert into orders (id) values (700)');
  const runs = `select r.id, e.payload #> '{table,depth}' as depth from workflow_runs as r, workflow_runs_events(r) as e
    where r.workflow_id = $1 and e.seq = 1 order by r.id desc limit 1`;
  const { rows: first } = await db.admin.query<{ id: string; depth: number }>(runs, [copying.id]);
  expect(first[0]!.depth).toBe(1);
  const task = await driver.begin(first[0]!.id, 'copy');
  await db.pool('flowgres_worker').query('select engine.run_local($1)', [JSON.stringify({ type: 'copyOrder@1', ...task })]);
  expect((await db.admin.query(runs, [copying.id])).rows[0]).toMatchObject({ depth: 2 });
  await db.admin.query(`select engine.unwatch_table('orders', $1)`, [copying.id]);
});

test('is watched no more with one call, which leaves no trigger', async () => {
  const unwatch = () => db.admin.query<{ done: boolean }>(`select engine.unwatch_table('orders', $1) as done`, [changed.id]);
  await watch();
  expect((await unwatch()).rows).toEqual([{ done: true }]);
  expect((await unwatch()).rows).toEqual([{ done: false }]);
  expect(await inputsOf('insert into orders (id) values (900)')).toEqual([]);
  expect((await db.admin.query(`select from pg_trigger where tgrelid = 'orders'::regclass`)).rowCount).toBe(0);
});

test('a partitioned table is watched as a whole; tables of Flowgres and other things are not', async () => {
  await db.admin.query(`
    create table readings (id int, at int) partition by range (at);
    create table readings_1 partition of readings for values from (0) to (10);
    create table readings_2 partition of readings for values from (10) to (20);
    create view order_totals as select sum(total) from orders;
    grant select, insert, update on readings to ${APP}`);
  await db.admin.query(`select engine.watch_table('readings', $1)`, [changed.id]);
  const [input] = await inputsOf('insert into readings values (1, 1), (2, 12)');
  expect(input).toMatchObject({ table: 'public.readings', rows: [{ new: { id: 1, at: 1 } }, { new: { id: 2, at: 12 } }] });
  expect(await inputsOf('update readings set at = at + 9 where at = 1')).toMatchObject([
    { operation: 'update', rows: [{ old: { id: 1, at: 1 }, new: { id: 1, at: 10 } }] },
  ]);
  const refused = (table: string, more = '') =>
    codeOf(db.admin.query(`select engine.watch_table($1::regclass, $2${more})`, [table, changed.id]));
  expect(await refused('workflow_runs')).toBe('INVALID_ARGUMENT');
  expect(await refused('order_totals')).toBe('INVALID_ARGUMENT');
  expect(await refused('orders', `, columns => '{missing}'`)).toBe('INVALID_ARGUMENT');
  expect(await refused('orders', `, operations => '{truncate}'`)).toBe('INVALID_ARGUMENT');
  expect(await refused('orders', ', batch => 1001')).toBe('INVALID_ARGUMENT');
  expect(await codeOf(app.query(`select engine.watch_table('orders', $1)`, [changed.id]))).toBe('42501');
});

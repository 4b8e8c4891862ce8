/** A database that an application uses, too: what is its own in schema public is not part of the API. */
import { expect, test } from 'vitest';
import { printGraphqlSchema } from '../../src/graphql/server.ts';
import { createTestDatabase } from '../helpers/database.ts';

const db = await createTestDatabase();

test("an application's own tables, functions and types are neither exposed nor in the way of ours", async () => {
  const before = await printGraphqlSchema(db.url('flowgres_api'));
  await db.admin.query(`
    create type public.order_state as enum ('new', 'paid');
    create table public.orders (id int primary key, state public.order_state, run_id uuid references public.workflow_runs (id));
    create view public.paid_orders as select * from public.orders where state = 'paid';
    create function public.order_total() returns numeric language sql stable security definer as 'select 42::numeric';
    create function public.workflow_runs_order(run public.workflow_runs) returns public.orders language sql stable
      as 'select * from public.orders limit 1';
    -- A second function of the name of one of ours.
    create function public.create_workflow(p_order public.orders) returns int language sql as 'select 1';
    grant select on public.orders, public.paid_orders to public`);
  expect(await printGraphqlSchema(db.url('flowgres_api'))).toBe(before);
});

test('monitor names them', async () => {
  const { rows } = await db.admin.query('select object, kind, owner from monitor.foreign_objects()');
  const owner = (await db.admin.query<{ name: string }>('select current_user as name')).rows[0]!.name;
  expect(rows).toEqual([
    { object: 'public.create_workflow(public.orders)', kind: 'function', owner },
    { object: 'public.order_total()', kind: 'function', owner },
    { object: 'public.workflow_runs_order(public.workflow_runs)', kind: 'function', owner },
    { object: 'public.orders', kind: 'table', owner },
    { object: 'public.paid_orders', kind: 'view', owner },
  ]);
});

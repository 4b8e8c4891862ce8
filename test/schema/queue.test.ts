/** Schema graphile_worker: who runs steps uses the queue and can change nothing that others run. */
import { beforeAll, expect, test } from 'vitest';
import { migrate } from '../../src/database/migrate.ts';
import { connect } from '../../src/database/connections.ts';
import { TEST_PASSWORDS } from '../../tools/build-database.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});

test('the worker has the rights of no owner', async () => {
  const { rows } = await db.admin.query(`
    select pg_get_userbyid(o.owner) as owner
    from (
      select nspowner as owner from pg_namespace
      union select relowner from pg_class
      union select proowner from pg_proc
    ) as o
    where pg_has_role('flowgres_worker', o.owner, 'usage')`);
  expect(rows).toEqual([]);
});

test.each([
  'create or replace function graphile_worker.add_jobs(specs graphile_worker.job_spec[], job_key_preserve_run_at boolean default false) returns setof graphile_worker._private_jobs language sql as $$ select null::graphile_worker._private_jobs $$',
  'create function graphile_worker.mine() returns int language sql as $$ select 1 $$',
  'create view graphile_worker.mine as select 1',
  'alter table graphile_worker._private_jobs disable row level security',
  'alter table graphile_worker.migrations rename to other',
  'create trigger mine before insert on graphile_worker._private_jobs for each row execute function suppress_redundant_updates_trigger()',
  'insert into graphile_worker.migrations (id) values (9999)',
  `select graphile_worker.add_job('run_step')`,
  'set role flowgres_queue',
])('the worker cannot: %s', async (statement) => {
  await expect(db.pool('flowgres_worker').query(statement)).rejects.toMatchObject({ code: '42501' });
});

test('nobody but the worker and the owners reaches the queue', async () => {
  const { rows } = await db.admin.query(`
    select r.rolname, o.object
    from pg_roles as r
    cross join (
      select format('schema %s', n.nspname) as object, n.nspacl as acl, n.nspowner as owner, 'n'::"char" as kind
      from pg_namespace as n where n.nspname = 'graphile_worker'
      union all
      select c.relname, c.relacl, c.relowner, 'r' from pg_class as c
      where c.relnamespace = 'graphile_worker'::regnamespace and c.relkind in ('r', 'v')
      union all
      select p.proname, p.proacl, p.proowner, 'f' from pg_proc as p where p.pronamespace = 'graphile_worker'::regnamespace
    ) as o
    cross join lateral aclexplode(coalesce(o.acl, acldefault(o.kind, o.owner))) as a
    where a.grantee <> o.owner and (a.grantee = 0 or r.oid = a.grantee) and r.rolname <> 'flowgres_worker'`);
  expect(rows).toEqual([]);
});

test("what the queue's owner put into its schema runs without the rights of the administrator who migrates", async () => {
  const own = await createTestDatabase();
  const queue = await connect(own.url('flowgres_queue'));
  await queue.query(`
    create table graphile_worker.seen (who text, session text);
    create function graphile_worker.trap() returns int language plpgsql volatile as $$
    begin
      reset role;
      insert into graphile_worker.seen values (current_user, session_user);
      return (select max(id) from graphile_worker.real_migrations);
    end $$;
    alter table graphile_worker.migrations rename to real_migrations;
    create view graphile_worker.migrations as select graphile_worker.trap() as id, now() as ts, false as breaking`);
  await migrate(own.adminUrl, TEST_PASSWORDS).catch(() => undefined);
  const { rows } = await queue.query('select distinct who, session from graphile_worker.seen');
  await queue.end();
  expect(rows).toEqual([{ who: 'flowgres_queue', session: 'flowgres_queue' }]);
});

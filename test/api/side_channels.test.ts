/** What could be learned of another organization without reading a row of it. */
import { beforeAll, expect, test } from 'vitest';
import { type Worlds, createWorlds } from './access/fixture.ts';

let worlds: Worlds;
beforeAll(async () => {
  worlds = await createWorlds();
});

test('a condition that fails on a value does not see the values of others', async () => {
  const { user } = worlds.globex.owner;
  const probe = `select count(*) from workflows where 1 / (case when organization_id = $1 then 0 else 1 end) = 1`;
  await expect(user.query(probe, [worlds.acme.organization.id])).resolves.toMatchObject({ rowCount: 1 });
  await expect(user.query(probe, [worlds.globex.organization.id])).rejects.toMatchObject({ code: '22012' });
});

test('no sequence tells how much others do', async () => {
  const { rows } = await worlds.db.admin.query(`
    select c.oid::regclass::text as name, r.rolname
    from pg_class as c cross join pg_roles as r
    where c.relkind = 'S' and r.rolname in ('flowgres_user', 'flowgres_anonymous')
      and has_schema_privilege(r.rolname, c.relnamespace, 'usage') and has_sequence_privilege(r.rolname, c.oid, 'select, usage')`);
  expect(rows).toEqual([]);
});

test('a taken name of another organization is no conflict', async () => {
  const { user } = worlds.globex.owner;
  await worlds.acme.owner.user.query(`select set_variable('only_acme', '1')`);
  await worlds.acme.owner.user.query(`select create_team('Only', 'only-acme')`);
  await expect(user.query(`select set_variable('only_acme', '2')`)).resolves.toBeDefined();
  await expect(user.query(`select create_team('Only', 'only-acme')`)).resolves.toBeDefined();
});

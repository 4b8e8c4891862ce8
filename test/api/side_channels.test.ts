/** What could be learned of another organization without reading a row of it. */
import { beforeAll, expect, test } from 'vitest';
import { percentiles } from '../../bench/measure.ts';
import { connect } from '../../src/database/connections.ts';
import { serveGraphql } from '../helpers/graphql.ts';
import { type World, type Worlds, createWorlds } from './access/fixture.ts';

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

test('the webhook key, with which runs are started, is for those who may write workflows', async () => {
  const { db, acme } = worlds;
  const server = await serveGraphql(db);
  const seen = async (scopes: string[]) => {
    const { rows } = await acme.owner.user.query<{ secret: string }>(`select secret from create_api_token('key', $1)`, [scopes]);
    return (await server.data(rows[0]!.secret, '{ currentOrganization { webhookKey } organizations { nodes { webhookKey } } }')) as unknown;
  };
  const key = (webhookKey: string | null) => ({ currentOrganization: { webhookKey }, organizations: { nodes: [{ webhookKey }] } });
  expect(await seen(['runs:read', 'workflows:read', 'organization:write'])).toEqual(key(null));
  expect(await seen(['workflows:write'])).toEqual(key(acme.organization.webhookKey));
  const { rows } = await acme.member.user.query('select organizations_webhook_key(o) as key from current_organization() as o');
  expect(rows).toEqual([{ key: acme.organization.webhookKey }]);
});

test('who listens to the notifications of the database hears ids and nothing else', async () => {
  const { db, acme } = worlds;
  const { rows: channels } = await db.admin.query(`
    select distinct (regexp_matches(prosrc, 'pg_notify\\(\\s*(\\S+),', 'g'))[1] as channel
    from pg_proc where pronamespace::regnamespace::text not in ('cron', 'graphile_worker') and prosrc ~ 'pg_notify'`);
  expect(channels).toEqual([{ channel: "'flowgres_runs'" }]);
  const listener = await connect(db.url('flowgres_api'));
  const heard: string[] = [];
  listener.on('notification', ({ payload }) => heard.push(payload ?? ''));
  await listener.query('listen flowgres_runs');
  await db.admin.query('select engine.listen($1)', ['0190a000-0000-7000-8000-000000000000']);
  await acme.owner.user.query(`select start_workflow_run($1, '{"secret": "hush"}', metadata => '{"customer": "hush"}')`, [acme.waits]);
  await expect.poll(() => heard.length).toBeGreaterThan(0);
  await listener.end();
  for (const payload of heard) {
    const { runs, workflows, ...others } = JSON.parse(payload) as Record<string, string[]>;
    expect([...runs!, ...workflows!].filter((id) => !/^[0-9a-f-]{36}$/.test(id))).toEqual([]);
    expect(others).toEqual({});
  }
});

test('no organization can hold up another one by its locks', async () => {
  const { acme, globex } = worlds;
  // It has a webhook and a schedule, for which publishing takes advisory locks.
  await acme.owner.user.transaction(async (client) => {
    await client.query('select publish_workflow($1)', [acme.workflow.id]);
    await globex.owner.user.transaction(async (other) => {
      await other.query(`set local lock_timeout = '1s'`);
      await other.query('select publish_workflow($1)', [globex.workflow.id]);
      await other.query('select start_workflow_run($1)', [globex.workflow.id]);
    });
  });
});

test.each([
  ['a run', 'select cancel_run($1)', (world: World) => world.run],
  ['a workflow', 'select archive_workflow($1)', (world: World) => world.workflow.id],
])('%s of another organization takes as long to be refused as one that does not exist', async (_what, command, idOf) => {
  const { acme, globex } = worlds;
  const ids = { foreign: idOf(acme), missing: idOf(acme).replace(/.{12}$/, '000000000000') };
  const times: Record<keyof typeof ids, number[]> = { foreign: [], missing: [] };
  await globex.member.user.transaction(async (client) => {
    for (let index = 0; index < 1_000; index += 1) {
      const which = index % 2 ? 'foreign' : 'missing';
      await client.query('savepoint one');
      const startedAt = performance.now();
      const { code } = (await client.query(command, [ids[which]]).catch((error: unknown) => error)) as { code?: string };
      times[which].push(performance.now() - startedAt);
      expect(code).toBe('WF002');
      await client.query('rollback to one');
    }
  });
  const [foreign, missing] = [percentiles(times.foreign).p50, percentiles(times.missing).p50];
  expect(Math.abs(foreign - missing)).toBeLessThan(5);
});

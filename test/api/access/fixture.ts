/** Two organizations that have something of everything, so that what nobody may see is there to be seen. */
import { type TestDatabase, type TestDatabaseOptions, asApi, createTestDatabase } from '../../helpers/database.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../helpers/factory.ts';
import { type TestPerson, createMember } from '../../helpers/people.ts';
import type { Vault } from '../../../src/vault/vault.ts';
import { createCredential, createTestVault } from '../../helpers/vault.ts';

/** One of the organizations, by what commands need to know of it. */
export interface World {
  organization: TestOrganization;
  owner: TestPerson;
  admin: TestPerson;
  member: TestPerson;
  /** A member whom commands are about. */
  other: TestPerson;
  team: string;
  invitation: { id: string; code: string };
  tokenId: string;
  sessionId: string;
  /** A credential of the owner, shared with nobody. */
  credential: string;
  /** Published twice, with a webhook and a schedule. */
  workflow: { id: string; revision: number };
  template: string;
  /** A finished run, and one that waits for an approval. */
  run: string;
  waiting: string;
  /** The workflow of the latter. */
  waits: string;
  /** A failed run and its workflow. */
  failed: string;
  failing: string;
  /** A request to the webhook of the first workflow, and what it started. */
  delivery: string;
  /** A data table with one row. */
  table: string;
  /** A credential that signs messages, shared with all, and an endpoint that is told of failed runs. */
  signing: string;
  endpoint: string;
}

export interface Worlds {
  db: TestDatabase;
  /** What their credentials are sealed with. */
  vault: Vault;
  acme: World;
  globex: World;
}

const MAIN = {
  nodes: [
    { id: 'start', type: 'apiTrigger' },
    { id: 'hook', type: 'webhookTrigger', properties: { path: '/orders', method: 'POST' } },
    { id: 'clock', type: 'scheduleTrigger', properties: { cron: '0 9 * * 1' } },
    { id: 'end', type: 'set', properties: { assign: { done: true } } },
  ],
  connections: ['start', 'hook', 'clock'].map((source) => ({ source, target: 'end' })),
};

export async function createWorlds(options: TestDatabaseOptions = {}): Promise<Worlds> {
  const db = await createTestDatabase(options);
  const { vault } = await createTestVault();
  return { db, vault, acme: await createWorld(db, vault, 'Acme'), globex: await createWorld(db, vault, 'Globex') };
}

async function createWorld(db: TestDatabase, vault: Vault, name: string): Promise<World> {
  const organization = await createOrganization(db, name);
  const [owner, admin, member, other] = [
    await createMember(db, organization, 'owner'),
    await createMember(db, organization, 'admin'),
    await createMember(db, organization, 'member'),
    await createMember(db, organization, 'member', 'other'),
  ];
  const one = async <R extends Record<string, unknown>>(text: string, values: unknown[] = []) =>
    (await owner.user.query<R>(text, values)).rows[0]!;

  await one(`select change_plan('pro')`);
  await one(`select set_organization_limit('workflows', 50)`);
  await one(`select set_variable('rate', '7')`);
  const table = (await one<{ id: string }>(`select id from create_data_table('contacts', key => 'email')`)).id;
  await one(`select insert_data_rows($1, '{"email": "ada", "visits": 1}')`, [table]);
  const team = (await one<{ id: string }>(`select id from create_team('Sales', 'sales')`)).id;
  await one(`select set_team_limit($1, 'workflows', 20)`, [team]);
  await one('select add_team_member($1, $2)', [team, other.id]);
  const invitation = await one<{ id: string; code: string }>('select code, (invitation).id from invite_member($1)', [
    `new@${name.toLowerCase()}.example`,
  ]);
  const tokenId = (await one<{ id: string }>(`select (token).id from create_api_token('CI', '{runs:write}')`)).id;
  const sessionId = (await one<{ id: string }>('select id from sessions() limit 1')).id;

  const given = { name: 'CRM', type: 'bearer', data: { token: `token of ${name}` } };
  const credential = await createCredential(db, { vault }, organization, given, asApi(db, owner.secret));

  const { signing, endpoint } = await createEndpoint(db, vault, organization, owner);

  const { id } = await publishWorkflow({ ...organization, user: owner.user }, MAIN, 'Main');
  await one('select publish_workflow($1)', [id]);
  const { revision } = await one<{ revision: number }>('select revision from workflows where id = $1', [id]);
  const wait = chain({ id: 'start', type: 'apiTrigger' }, { id: 'check', type: 'wait', properties: { approval: { role: 'member' } } });
  const waits = await publishWorkflow({ ...organization, user: owner.user }, wait, 'Waits');
  const fails = chain({ id: 'start', type: 'apiTrigger' }, { id: 'end', type: 'stopAndError', properties: { message: 'no' } });
  const failing = await publishWorkflow({ ...organization, user: owner.user }, fails, 'Fails');
  const template = await one<{ id: string }>('select id from create_workflow($1, $2)', ['Template', JSON.stringify(MAIN)]);
  await one(`select set_template($1, 'organization')`, [template.id]);
  const start = async (workflow: string) => (await one<{ id: string }>(`select id from start_workflow_run($1, '{"a": 1}')`, [workflow])).id;
  const [run, waiting, failed] = [await start(id), await start(waits.id), await start(failing.id)];

  await one('select cancel_runs($1)', [JSON.stringify({ workflowId: failing.id })]);
  await db
    .pool('flowgres_worker')
    .query('select engine.append_logs($1)', [
      JSON.stringify([{ organizationId: organization.id, runId: run, node: 'end', level: 'info', message: 'hello' }]),
    ]);
  await db.pool('flowgres_api').query(
    `select engine.log_api_requests(jsonb_build_array(jsonb_build_object(
         'session', encode(sha256(convert_to($1, 'UTF8')), 'hex'), 'at', now(), 'operation', 'Mine', 'status', 200, 'ms', 1
       )))`,
    [owner.secret],
  );
  const delivery = await logDelivery(db, organization, id, run);
  return {
    organization,
    owner,
    admin,
    member,
    other,
    team,
    invitation,
    tokenId,
    sessionId,
    credential,
    signing,
    endpoint,
    table,
    workflow: { id, revision },
    template: template.id,
    run,
    waiting,
    waits: waits.id,
    failed,
    failing: failing.id,
    delivery,
  };
}

/** Creates a credential that signs messages, and an endpoint that is told of failed runs. */
async function createEndpoint(db: TestDatabase, vault: Vault, organization: TestOrganization, owner: TestPerson) {
  const secret = `whsec_${Buffer.from(organization.slug.padEnd(24)).toString('base64')}`;
  const given = { name: 'Signing', type: 'hmac', data: { secrets: [secret] }, isShared: true };
  const signing = await createCredential(db, { vault }, organization, given, asApi(db, owner.secret));
  const { rows } = await owner.user.query<{ id: string }>(
    `select id from create_webhook_endpoint('https://example.com/told', '{run.failed}', $1)`,
    [signing],
  );
  return { signing, endpoint: rows[0]!.id };
}

/** Lists a request to the webhook of a workflow, and returns its id. */
async function logDelivery(db: TestDatabase, { id }: TestOrganization, workflowId: string, runId: string): Promise<string> {
  const request = { organizationId: id, workflowId, node: 'hook', at: new Date().toISOString(), method: 'POST', path: '/orders' };
  const answer = { clientAddress: '192.0.2.1', status: 202, runId, isDuplicate: false, ms: 7 };
  await db.pool('flowgres_intake').query('select engine.log_webhook_deliveries($1)', [JSON.stringify([{ ...request, ...answer }])]);
  const { rows } = await db.admin.query<{ id: string }>('select id from webhook_deliveries where organization_id = $1', [id]);
  return rows[0]!.id;
}

/** Whose a row is, where no column organization_id says it: an SQL condition on the alias t with the organization as $1. */
const OWNERS: Record<string, string> = {
  organizations: 't.id = $1',
  users: 't.id = any (array(select m.user_id from organization_users as m where m.organization_id = $1))',
  workflow_run_steps: 't.run_id = any (array(select r.id from workflow_runs as r where r.organization_id = $1))',
};
/** What is everybody's, and what knows the request's organization only. */
export const SHARED = new Set(['plans', 'plan_limits']);
const CURRENT = new Set(['entitlements']);

export interface Exposed {
  name: string;
  columns: string[];
  /** Columns that requests without a token may read. */
  open: string[];
}

/** The tables and views that a request may read. */
export async function readTables({ admin }: TestDatabase): Promise<Exposed[]> {
  const { rows } = await admin.query<Exposed>(`
    select c.relname as name,
      array_agg(a.attname::text order by a.attnum) filter (where has_column_privilege('flowgres_user', c.oid, a.attnum, 'select')) as columns,
      coalesce(array_agg(a.attname::text order by a.attnum) filter (where has_column_privilege('flowgres_anonymous', c.oid, a.attnum, 'select')), '{}') as open
    from pg_class as c
    join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
      and (has_any_column_privilege('flowgres_user', c.oid, 'select') or has_any_column_privilege('flowgres_anonymous', c.oid, 'select'))
    group by c.oid
    order by c.relname`);
  return rows;
}

/** The ids, as JSON, of an organization's rows of each table; throws when a table has none. */
export async function readRows(worlds: Worlds, tables: Exposed[], world: World): Promise<Map<string, Record<string, unknown>[]>> {
  const found = new Map<string, Record<string, unknown>[]>();
  for (const { name, columns } of tables) {
    if (CURRENT.has(name)) continue;
    const owned =
      OWNERS[name] ?? (SHARED.has(name) ? '$1::uuid is not null' : columns.includes('organization_id') && 't.organization_id = $1');
    if (!owned) throw new Error(`Whose is a row of ${name}? Say so in OWNERS, SHARED or CURRENT of test/api/access/fixture.ts.`);
    const { rows } = await worlds.db.admin.query<{ row: Record<string, unknown> }>(
      `select to_jsonb(t) as row from public.${name} as t where ${owned}`,
      [world.organization.id],
    );
    if (rows.length === 0) throw new Error(`No row of ${name}: make one for each organization in test/api/access/fixture.ts.`);
    found.set(
      name,
      rows.map(({ row }) => row),
    );
  }
  return found;
}

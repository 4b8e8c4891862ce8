/** Creates the demo organization of `flowgres start`, with the workflows of `examples/`. */
import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { connect } from '../database/connections.ts';
import { FlowgresError } from '../errors.ts';

const EXAMPLES = new URL('../../examples/', import.meta.url);
const INPUT = 'order-intake.input.json';
const WORKFLOW = 'order-intake';
/** Addresses of the demo services in the examples; rewritten to the address of this process. */
const OUTSIDE = /http:\/\/[^/"]+\/demo\//g;
const SCOPES = ['workflows:write', 'runs:write', 'organization:write'];
const RUN_TIMEOUT_MS = 30_000;
const POLL_MS = 20;

/** The demo organization. */
export interface Demo {
  organizationId: string;
  /** The key in its webhook addresses, `/hooks/<key>/…`. */
  webhookKey: string;
  token: string;
  workflows: number;
}

/** A finished run of the demo with its events. */
export interface DemoRun {
  id: string;
  status: string;
  ms: number;
  events: { seq: number; ts: Date; type: string; payload: Record<string, unknown> }[];
}

/** Creates what is missing of the demo and keeps what a user has changed. */
export async function prepareDemo(adminUrl: string, httpUrl: string, knownToken: string | undefined): Promise<Demo> {
  const client = await connect(adminUrl);
  try {
    const { organizationId, webhookKey, userId } = await ensureOrganization(client);
    await client.query('select set_context($1, $2)', [organizationId, userId]);
    const token = (await validToken(client, knownToken, organizationId)) ?? (await createToken(client));
    const examples = await readExamples(httpUrl);
    for (const { name, definition } of examples) await ensureWorkflow(client, name, definition);
    return { organizationId, webhookKey, token, workflows: examples.length };
  } finally {
    await client.end();
  }
}

/** Starts the example order and waits until the run has ended. */
export async function runDemo(adminUrl: string, demo: Demo): Promise<DemoRun> {
  const client = await connect(adminUrl);
  try {
    await client.query('select set_context($1)', [demo.organizationId]);
    const input = await readFile(new URL(INPUT, EXAMPLES), 'utf8');
    const workflow = await findWorkflow(client, WORKFLOW);
    if (!workflow) throw new FlowgresError('DEMO_MISSING', `The demo organization has no workflow ${WORKFLOW}.`);
    const { rows } = await client.query<{ id: string }>('select id from start_workflow_run($1, $2::jsonb)', [workflow.id, input]);
    return await finishedRun(client, rows[0]!.id);
  } finally {
    await client.end();
  }
}

async function ensureOrganization(client: pg.Client): Promise<{ organizationId: string; webhookKey: string; userId: string }> {
  const find = () =>
    client.query<{ organizationId: string; webhookKey: string; userId: string }>(`
      select o.id as "organizationId", o.webhook_key as "webhookKey", m.user_id as "userId"
      from organizations as o
      join organization_users as m on m.organization_id = o.id and m.role = 'owner'
      where o.slug = 'demo'
      order by m.created_at
      limit 1`);
  const { rows } = await find();
  if (rows[0]) return rows[0];
  const { rows: users } = await client.query<{ id: string }>(
    `insert into users (name, email) values ('Demo', 'demo@example.com') returning id`,
  );
  await client.query('select set_context(null, $1)', [users[0]!.id]);
  await client.query(`select create_organization('Demo', 'demo')`);
  return (await find()).rows[0]!;
}

/** Returns the token of an earlier start if it still belongs to this organization. */
async function validToken(client: pg.Client, token: string | undefined, organizationId: string): Promise<string | undefined> {
  if (!token) return undefined;
  const session = createHash('sha256').update(token).digest('hex');
  const { rows } = await client.query<{ found: boolean }>(
    `select current_organization_id() = $2 as found from (select set_config('flowgres.session', $1, true)) as request`,
    [session, organizationId],
  );
  return rows[0]?.found ? token : undefined;
}

async function createToken(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ secret: string }>(`select secret from create_api_token('demo', $1)`, [SCOPES]);
  return rows[0]!.secret;
}

async function readExamples(httpUrl: string): Promise<{ name: string; definition: string }[]> {
  const files = (await readdir(EXAMPLES)).filter((file) => /^[\w-]+\.json$/.test(file)).sort();
  const read = async (file: string) => ({
    name: file.replace('.json', ''),
    definition: (await readFile(new URL(file, EXAMPLES), 'utf8')).replaceAll(OUTSIDE, `${httpUrl}/demo/`),
  });
  return Promise.all(files.map(read));
}

async function ensureWorkflow(client: pg.Client, name: string, definition: string): Promise<void> {
  const existing = await findWorkflow(client, name);
  if (!existing) {
    const { rows: made } = await client.query<{ id: string }>('select id from create_workflow($1, $2::jsonb)', [name, definition]);
    await publish(client, made[0]!.id);
    return;
  }
  // The port may differ from the last start: only the addresses in the draft are updated, all other changes by
  // users are kept.
  const draft = JSON.stringify(existing.definition);
  const [outside] = definition.match(OUTSIDE) ?? [];
  const moved = outside && draft.replaceAll(OUTSIDE, outside);
  if (!moved || moved === draft) return;
  await client.query('select save_workflow($1, $2::jsonb, $3)', [existing.id, moved, existing.revision]);
  if (existing.published_version !== null) await publish(client, existing.id);
}

interface Draft {
  id: string;
  revision: number;
  definition: unknown;
  published_version: number | null;
}

async function findWorkflow(client: pg.Client, name: string): Promise<Draft | undefined> {
  const { rows } = await client.query<Draft>(
    `select id, revision, definition, published_version from workflows
     where organization_id = current_organization_id() and name = $1 and archived_at is null
     order by created_at
     limit 1`,
    [name],
  );
  return rows[0];
}

async function publish(client: pg.Client, id: string): Promise<void> {
  await client.query('select publish_workflow($1)', [id]);
}

async function finishedRun(client: pg.Client, id: string): Promise<DemoRun> {
  const until = Date.now() + RUN_TIMEOUT_MS;
  for (;;) {
    const { rows } = await client.query<{ status: string; ms: number; finished: boolean }>(
      `select status, finished_at is not null as finished, extract(epoch from finished_at - started_at)::float * 1000 as ms
       from workflow_runs where id = $1`,
      [id],
    );
    const run = rows[0]!;
    if (run.finished || Date.now() > until) {
      const { rows: events } = await client.query('select seq, ts, type, payload from get_workflow_run_events($1) order by seq', [id]);
      return { id, status: run.status, ms: run.ms, events };
    }
    await delay(POLL_MS);
  }
}

/** Compares lists through GraphQL with the same SQL without it, and row-level security with none. */
import { type ChildProcess, fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import autocannon from 'autocannon';
import type pg from 'pg';
import { createPool } from '../src/database/connections.ts';
import { createGraphql } from '../src/graphql/server.ts';
import { type SentStatement, recordStatements } from '../test/helpers/sql_log.ts';
import { type Outcome, type Result, percentiles } from './measure.ts';
import type { BenchServer } from './server.ts';

const SECONDS = 3;
const ROUNDS = 3;
const ORGANIZATIONS = 200;
const RUNS = 1_000_000;
const LIST = `{ workflowRuns(first: 20, orderBy: ID_DESC) { nodes {
  id status startedAt finishedAt workflow { id name } latestEvents(first: 5) { nodes { seq ts type payload } }
} } }`;

/** Measures lists through GraphQL. Returns rows and sentences of the report. */
export async function measureGraphql(server: BenchServer): Promise<Outcome[]> {
  const admin = createPool(server.adminUrl, { name: 'bench', max: 1 });
  try {
    await fill(admin, server.organizationId);
    const token = await createToken(admin, server.organizationId);
    return [...(await compareServers(server, token)), ...(await comparePolicies(server, admin, token))];
  } finally {
    await admin.end();
  }
}

/** Inserts a million runs of 200 organizations; the measured one has 5,000 with their events. */
async function fill(admin: pg.Pool, organizationId: string): Promise<void> {
  // Skip foreign key checks: only reading is measured.
  await admin.query(`set session_replication_role = replica`);
  await admin.query(
    `insert into organizations (name, slug) select 'Bench ' || n, 'bench-' || n from generate_series(2, ${ORGANIZATIONS}) as n`,
  );
  await admin.query(
    `insert into workflows (organization_id, name, definition) select o.id, 'w' || n, '{}' from organizations as o, generate_series(1, 10) as n`,
  );
  await admin.query(
    `insert into workflow_versions (organization_id, workflow_id, version, definition)
     select organization_id, id, 1, '{}' from workflows where published_version is null`,
  );
  await admin.query(
    `insert into workflow_runs (id, organization_id, workflow_id, version, mode, status, started_at, finished_at)
     select engine.uuid_v7(now() - n * interval '1 second'), w.organization_id, w.id, 1, 'api', 'success', now(), now()
     from generate_series(1, ${RUNS / ORGANIZATIONS / 10}) as n, workflows as w where w.published_version is null`,
  );
  await admin.query(
    `insert into workflow_events (organization_id, run_id, seq, type, payload)
     select r.organization_id, r.id, s, 'step.succeeded', '{"node": "price", "attempt": 1, "port": "main", "output": {"total": 120}, "ms": 0}'
     from workflow_runs as r, generate_series(1, 8) as s where r.organization_id = $1`,
    [organizationId],
  );
  await admin.query('reset session_replication_role');
  await admin.query('vacuum analyze workflow_runs, workflow_events, workflows, workflow_versions, organizations');
}

async function createToken(admin: pg.Pool, organizationId: string): Promise<string> {
  const { rows } = await admin.query<{ secret: string }>(
    `with context as materialized (select set_context($1))
     select t.secret from context, create_api_token('bench', '{runs:read,workflows:read}') as t`,
    [organizationId],
  );
  await admin.query('reset flowgres.session');
  return rows[0]!.secret;
}

/**
 * Compares requests per second and CPU time per request. Rates depend on what else the machine does, because
 * the operating system divides it among processes; the server's CPU time per request depends on that far less.
 */
async function compareServers(server: BenchServer, token: string): Promise<Outcome[]> {
  const url = server.url('flowgres_api');
  const statement = await statementOf(url, token);
  const graphql = await startServer({ url });
  const raw = await startServer({ url, statement });
  const results: Outcome[] = [];
  for (const connections of [1, 50]) {
    const rates: Record<'graphql' | 'raw', Fired[]> = { graphql: [], raw: [] };
    // Alternate, so that other load affects both.
    for (let round = 0; round < ROUNDS; round += 1) {
      rates.graphql.push(await fire(graphql, token, connections));
      rates.raw.push(await fire(raw, token, connections));
    }
    const [ours, theirs] = [middle(rates.graphql), middle(rates.raw)];
    const ratio = (ours.rate! / theirs.rate!).toFixed(2);
    const at = `${connections} connection${connections > 1 ? 's' : ''}`;
    results.push({ ...theirs, name: `20 runs with workflow and 5 events, the same SQL without GraphQL, ${at}` });
    results.push({ ...ours, name: `20 runs with workflow and 5 events through GraphQL, ${at}: ${ratio} of that` });
    const cpu = (fired: Fired[]) => Math.min(...fired.map((each) => each.cpu)).toFixed(2);
    results.push(
      `With ${at} a request takes ${cpu(rates.graphql)} ms of the GraphQL server's CPU time, the same SQL ${cpu(rates.raw)} ms of plain node's.`,
    );
  }
  for (const { child } of [graphql, raw]) {
    child.kill('SIGTERM');
    await once(child, 'exit');
  }
  return results;
}

/** Returns the statement that PostGraphile sends for the list. */
async function statementOf(connectionString: string, token: string): Promise<SentStatement> {
  const graphql = await createGraphql({ connectionString });
  const { createServer } = await import('node:http');
  const http = createServer((request, response) => graphql.handle(request, response));
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const { port } = http.address() as { port: number };
  const [statement, ...others] = await recordStatements(async () => {
    const response = await fetch(`http://127.0.0.1:${port}/graphql`, request(token));
    const { errors } = (await response.json()) as { errors?: unknown };
    if (errors) throw new Error(JSON.stringify(errors));
  });
  http.closeAllConnections();
  http.close();
  await graphql.release();
  if (!statement || others.length) throw new Error(`the list is ${others.length + 1} statements`);
  return statement;
}

const request = (token: string) => ({
  method: 'POST' as const,
  headers: { 'content-type': 'application/json', accept: 'application/json', authorization: `Bearer ${token}` },
  body: JSON.stringify({ query: LIST }),
});

interface Server {
  child: ChildProcess;
  port: number;
}

async function startServer(settings: { url: string; statement?: SentStatement }): Promise<Server> {
  const child = fork(new URL('./graphql_server.ts', import.meta.url), { env: { ...process.env, BENCH_GRAPHQL: JSON.stringify(settings) } });
  const [port] = (await once(child, 'message')) as [number];
  return { child, port };
}

interface Fired extends Result {
  /** Milliseconds of the server's CPU time per request. */
  cpu: number;
}

async function fire({ port, child }: Server, token: string, connections: number): Promise<Fired> {
  const cpuTime = async () => {
    child.send('cpu');
    const [{ user, system }] = (await once(child, 'message')) as [NodeJS.CpuUsage];
    return (user + system) / 1_000;
  };

  const shoot = (duration: number) => autocannon({ url: `http://127.0.0.1:${port}/graphql`, connections, duration, ...request(token) });
  await shoot(1);
  const before = await cpuTime();
  const result = await shoot(SECONDS);
  const cpu = ((await cpuTime()) - before) / result['2xx'];
  if (result.non2xx || result.errors) throw new Error(`${result.non2xx} answers other than 2xx, ${result.errors} errors`);
  return { name: '', rate: result['2xx'] / SECONDS, p50: result.latency.p50, p95: result.latency.p97_5, cpu };
}

const middle = (results: Fired[]) => results.toSorted((a, b) => a.rate! - b.rate!)[Math.floor(results.length / 2)]!;

/** Compares the same list for a user, whose policies select the rows, and for the owner with a condition. */
async function comparePolicies(server: BenchServer, admin: pg.Pool, token: string): Promise<Result[]> {
  const columns = 'id, workflow_id, version, mode, status, started_at, finished_at';
  const latest = `select ${columns} from workflow_runs as r order by id desc limit 20`;
  const named = `select ${columns} from workflow_runs as r where organization_id = '${server.organizationId}' order by id desc limit 20`;
  const user = await admin.connect();
  const session = createHash('sha256').update(token).digest('hex');
  const time = async (asUser: boolean): Promise<number[]> => {
    const times: number[] = [];
    await user.query('begin');
    if (asUser) await user.query(`select set_config('flowgres.session', $1, true), set_config('role', 'flowgres_user', true)`, [session]);
    for (let index = 0; index < 300; index += 1) {
      const startedAt = performance.now();
      await user.query({ name: asUser ? 'policies' : 'no policies', text: asUser ? latest : named });
      if (index >= 50) times.push(performance.now() - startedAt);
    }
    await user.query('rollback');
    return times;
  };
  const [free, bound]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round += 1) {
    free.push(...(await time(false)));
    bound.push(...(await time(true)));
  }
  user.release();
  const [without, under] = [percentiles(free), percentiles(bound)];
  return [
    { name: 'latest 20 runs of 1 in 200 organizations in 1M runs, no row-level security', ...without },
    { name: `the same under row-level security: ${(under.p50 / without.p50).toFixed(2)} times as long`, ...under },
  ];
}

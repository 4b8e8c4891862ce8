/**
 * The victim: an organization with a webhook of pure nodes that is answered with its result, a query, and a
 * schedule that fires each second and calls a peer. Requests are sent at fixed times, whether or not earlier
 * ones were answered.
 */
import { PASSWORD, type Installation, type Tenant } from './installation.ts';

const WEBHOOK_EVERY_MS = 50;
const QUERY_EVERY_MS = 100;
const LOGIN_EVERY_MS = 500;
/** Longest wait in milliseconds for a tick, its run, or an answer. */
const PATIENCE_MS = 30_000;
const QUERY = '{ workflowRuns(first: 5, orderBy: ID_DESC) { nodes { id status workflow { name } } } }';

/** What the victim has observed. */
export interface Observed {
  /** Latencies in milliseconds, unordered. */
  webhook: number[];
  query: number[];
  logins: number[];
  /** Descriptions of accepted requests or due ticks without a correct answer or run. */
  lost: string[];
  /** Longest delay of a tick, in seconds. */
  latestTick: number;
}

/** The victim's organization and users. */
export interface Victim {
  tenant: Tenant;
  /** Email addresses of users with accounts who log in, each from a different network. */
  people: string[];
  observe(seconds: number, beside?: 'logins' | 'resets'): Promise<Observed>;
}

/** Creates the victim in an installation. */
export async function createVictim(installation: Installation): Promise<Victim> {
  const tenant = await installation.createTenant('Victim');
  const webhook = await installation.publish(tenant, 'answers', {
    nodes: [
      { id: 'hook', type: 'webhookTrigger', properties: { path: '/order', method: 'POST', respond: 'lastNode' } },
      { id: 'price', type: 'set', properties: { assign: { net: '{{ $.prev.n + 1000 }}' } } },
      { id: 'note', type: 'set', properties: { assign: { size: 'big' } } },
    ],
    connections: [
      { source: 'hook', target: 'price' },
      { source: 'price', target: 'note' },
    ],
  });
  const schedule = await installation.publish(tenant, 'ticks', {
    nodes: [
      { id: 'clock', type: 'scheduleTrigger', properties: { cron: '1 second' } },
      { id: 'ask', type: 'httpRequest', properties: { url: `${installation.peer}/ok` } },
    ],
    connections: [{ source: 'clock', target: 'ask' }],
  });
  const people = Array.from({ length: 15 }, (_, place) => `person${place}@people.example`);
  for (const email of people) await installation.createAccount(email);
  const context = { installation, tenant, webhook, schedule, people, next: 0, nextLogin: 0 };
  return { tenant, people, observe: (seconds, beside) => observe(context, seconds, beside) };
}

interface Context {
  installation: Installation;
  tenant: Tenant;
  webhook: string;
  schedule: string;
  people: string[];
  /** Numbers requests, so that each answer is matched with its request. */
  next: number;
  nextLogin: number;
}

async function observe(context: Context, seconds: number, beside?: 'logins' | 'resets'): Promise<Observed> {
  const observed: Observed = { webhook: [], query: [], logins: [], lost: [], latestTick: 0 };
  const before = await finishedRuns(context);
  const from = Date.now();
  await Promise.all([
    atIntervals(seconds, WEBHOOK_EVERY_MS, () => askWebhook(context, observed)),
    atIntervals(seconds, QUERY_EVERY_MS, () => askGraphql(context, observed)),
    beside === 'logins' && atIntervals(seconds, LOGIN_EVERY_MS, () => logIn(context, observed)),
    beside === 'resets' && askReset(context, observed, seconds),
  ]);
  const missing = observed.webhook.length - ((await finishedRuns(context)) - before);
  if (missing !== 0) observed.lost.push(`${missing} runs`);
  await checkTicks(context, observed, from, from + seconds * 1000);
  return observed;
}

/** Calls at fixed times, and waits for all calls. */
async function atIntervals(seconds: number, everyMs: number, call: () => Promise<void>): Promise<void> {
  const calls: Promise<void>[] = [];
  const startedAt = performance.now();
  for (let turn = 0; turn * everyMs < seconds * 1000; turn += 1) {
    const wait = startedAt + turn * everyMs - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    calls.push(call());
  }
  await Promise.all(calls);
}

async function send(
  context: Context,
  path: string,
  body: unknown,
  from: string,
  token?: string,
): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${context.installation.url}${path}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json',
      'x-forwarded-for': from,
      ...(token ? { authorization: `Bearer ${token}` } : {}),
    },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(PATIENCE_MS * 2),
  });
  return { status: response.status, body: await response.json() };
}

async function timed(times: number[], lost: string[], what: string, work: () => Promise<string | undefined>): Promise<void> {
  const startedAt = performance.now();
  const problem = await work().catch((error: unknown) => String((error as { cause?: unknown }).cause ?? error));
  if (problem === undefined) times.push(performance.now() - startedAt);
  else lost.push(`${what}: ${problem}`);
}

async function askWebhook(context: Context, { webhook, lost }: Observed): Promise<void> {
  context.next += 1;
  const n = context.next;
  await timed(webhook, lost, 'answer', async () => {
    const { status, body } = await send(context, `/hooks/${context.tenant.webhookKey}/order`, { n }, '198.51.100.1');
    const right = status === 200 && (body as { net?: number }).net === n + 1000;
    return right ? undefined : `${status} ${JSON.stringify(body).slice(0, 120)}`;
  });
}

async function askGraphql(context: Context, { query, lost }: Observed): Promise<void> {
  await timed(query, lost, 'query', async () => {
    const { status, body } = await send(context, '/graphql', { query: QUERY }, '198.51.100.1', context.tenant.tokens[0]!);
    const right = status === 200 && !(body as { errors?: unknown }).errors;
    return right ? undefined : `${status} ${JSON.stringify(body).slice(0, 120)}`;
  });
}

async function logIn(context: Context, { logins, lost }: Observed): Promise<void> {
  const place = context.nextLogin % context.people.length;
  context.nextLogin += 1;
  await timed(logins, lost, 'login', async () => {
    const credentials = { email: context.people[place], password: PASSWORD };
    // Each user logs in from a network of its own; the first from the one in the attacker's requests.
    const { status, body } = await send(context, '/auth/login', credentials, `198.51.${100 + place}.7`);
    return status === 200 ? undefined : `${status} ${JSON.stringify(body).slice(0, 120)}`;
  });
}

/** In the middle of the attack the first user asks for a new password. */
async function askReset(context: Context, { lost }: Observed, seconds: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, seconds * 600));
  const email = context.people[0]!;
  const since = new Date();
  const query = 'mutation ($email: String!) { requestPasswordReset(input: {email: $email}) { clientMutationId } }';
  await send(context, '/graphql', { query, variables: { email } }, '198.51.100.7');
  const { rowCount } = await context.installation.admin.query(
    `select from private.outbox where recipient = $1 and created_at >= $2 and subject ~* 'password'`,
    [email, since],
  );
  if (!rowCount) lost.push('mail with the code for a new password');
}

async function finishedRuns(context: Context): Promise<number> {
  const { rows } = await context.installation.admin.query<{ count: number }>(
    `select count(*)::int from workflow_runs where workflow_id = $1 and status = 'success'`,
    [context.webhook],
  );
  return rows[0]!.count;
}

/** Checks that each second of the period has its run, and that each of these succeeded. */
async function checkTicks(context: Context, observed: Observed, from: number, to: number): Promise<void> {
  const seconds = Array.from({ length: Math.floor(to / 1000) - Math.ceil(from / 1000) + 1 }, (_, n) => Math.ceil(from / 1000) + n);
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const { rows } = await context.installation.admin.query<{ at: number; late: number; status: string }>(
      `select extract(epoch from (e.payload -> 'input' ->> 'scheduledAt')::timestamptz)::int as at, r.status,
         extract(epoch from e.ts - (e.payload -> 'input' ->> 'scheduledAt')::timestamptz)::float8 as late
       from workflow_runs as r join workflow_events as e on e.run_id = r.id and e.type = 'run.created'
       where r.workflow_id = $1 and r.started_at >= $2 and e.ts >= $2`,
      [context.schedule, new Date(from - 1000)],
    );
    const ticks = new Map(rows.map((row) => [row.at, row]));
    const missing = seconds.filter((at) => ticks.get(at)?.status !== 'success');
    const isOver = performance.now() > until;
    if (!missing.length || isOver) {
      observed.latestTick = Math.max(0, ...seconds.map((at) => ticks.get(at)?.late ?? 0));
      if (missing.length) {
        const unfired = missing.filter((at) => !ticks.has(at)).length;
        if (unfired) observed.lost.push(`${unfired} ticks`);
        if (missing.length > unfired) observed.lost.push(`${missing.length - unfired} runs of ticks`);
      }
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

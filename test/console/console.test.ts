/** The console: what it asks the API, how its server part answers, and that it computes runs as the engine does. */
import { readFileSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { join } from 'node:path';
import { buildSchema, parse } from 'postgraphile/graphql';
import { beforeAll, describe, expect, test } from 'vitest';
import { buildConsole } from '../../src/cli/console.ts';
import { type GraphShape, type RunEvent, type RunState, failurePortsOf, foldRun } from '../../src/console/pages/run/fold.ts';
import { costOf } from '../../src/graphql/cost.ts';
import { LIMITS } from '../../src/graphql/limits.ts';
import { createConsole } from '../../src/http/console.ts';
import { startHttp } from '../../src/http/server.ts';
import { CONSOLE_DOCUMENTS, generateConsole } from '../../tools/reference/console.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { Driver } from '../helpers/driver.ts';
import { type Definition, type TestOrganization, createOrganization, publishWorkflow } from '../helpers/factory.ts';

/** What the first page may weigh, compressed. */
const INITIAL_BYTES = 250_000;

describe('the operations', () => {
  test('are those of the schema (if not: npm run docs)', async () => {
    for (const [file, text] of Object.entries(await generateConsole())) expect(await readFile(file, 'utf8')).toBe(text);
  });

  test('cost less than the limit, also when they ask for the largest pages', async () => {
    const schema = buildSchema(await readFile('schema.graphql', 'utf8'));
    const documents = Object.values(JSON.parse(await readFile(CONSOLE_DOCUMENTS, 'utf8')) as Record<string, string>);
    expect(documents.length).toBeGreaterThan(20);
    const costs = documents.map(
      (text) => [text.split('(')[0], costOf(schema, parse(text), null, { first: LIMITS.maxPage }).objects] as const,
    );
    expect(costs.filter(([, objects]) => objects > LIMITS.maxCost)).toEqual([]);
  });
});

describe('the build', () => {
  let folder: string;
  let origin: string;
  beforeAll(async () => {
    folder = (await buildConsole())!;
    const server = await startHttp({ host: '127.0.0.1', port: 0 });
    server.add({
      console: createConsole(folder),
      graphql: (_request, response) => response.writeHead(404, { 'content-type': 'application/json' }).end('{}'),
      problems: async () => [],
    });
    origin = server.url;
    return () => server.close(0);
  });
  const open = (path: string) => fetch(`${origin}${path}`, { headers: { accept: 'text/html,*/*' } });
  const filesOf = (html: string) => [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path!);

  test('answers a browser with the page at every address, with the files relative to it', async () => {
    for (const path of ['/', '/runs', '/runs/0190', '/workflows/0190/edit']) {
      const page = await open(path);
      expect([page.status, page.headers.get('content-type'), page.headers.get('cache-control')]).toEqual([
        200,
        'text/html; charset=utf-8',
        'no-cache',
      ]);
      const files = filesOf(await page.text());
      expect(files.length).toBeGreaterThan(2);
      for (const file of files) expect(new URL(file, `${origin}${path}`).pathname).toMatch(/^\/assets\/[\w-]+\.(?:js|css|svg)$/);
    }
  });

  test('is no answer to a program that asks for JSON, to other methods, and for files that are not there', async () => {
    expect((await fetch(`${origin}/runs`, { headers: { accept: 'application/json' } })).status).toBe(404);
    expect((await fetch(`${origin}/`, { method: 'POST' })).status).toBe(404);
    expect((await open('/assets/nowhere.js')).status).toBe(404);
    expect((await open('/operations.json')).status).toBe(404);
    expect((await open('/..%2f..%2fpackage.json')).status).toBe(404);
  });

  test('has files that browsers keep for good, compressed', async () => {
    const [script] = filesOf(await (await open('/')).text()).filter((path) => path.endsWith('.js'));
    for (const encoding of ['br', 'gzip', 'identity']) {
      const answer = await fetch(new URL(script!, origin), { headers: { 'accept-encoding': encoding } });
      expect([answer.status, answer.headers.get('content-encoding') ?? 'identity']).toEqual([200, encoding]);
      expect(answer.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
      expect(await answer.text()).toContain('createElement');
    }
  });

  test('lets the page run nothing but its own files', async () => {
    const { headers } = await open('/');
    const policy = headers.get('content-security-policy')!;
    expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self';");
    expect(policy).not.toMatch(/unsafe|\*|https?:|blob:/);
    expect(headers.get('set-cookie')).toBeNull();
    expect(headers.get('x-frame-options')).toBe('DENY');
  });

  test('weighs less than 250 kB at first, and does the same on another machine', async () => {
    const html = await readFile(join(folder, 'index.html'), 'utf8');
    const initial = [html, ...filesOf(html).map((path) => readFileSync(join(folder, path)))];
    const size = initial.map((each) => gzipSync(each).length).reduce((sum, each) => sum + each, 0);
    expect(size).toBeLessThan(INITIAL_BYTES);
    // Nothing is built again while nothing has changed.
    expect(await buildConsole()).toBe(folder);
  });

  test('has nothing that makes markup of a text', async () => {
    const sources = (await readdir('src/console', { recursive: true })).filter((file) => /\.tsx?$/.test(file));
    expect(sources.length).toBeGreaterThan(20);
    const found = sources.filter((file) =>
      /dangerouslySetInnerHTML|(?:inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\(/.test(
        readFileSync(join('src/console', file), 'utf8'),
      ),
    );
    expect(found).toEqual([]);
  });
});

// The fold of the run page.
let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
});

/** The run as the database shows it, and as the console computes it from the log. */
async function both(run: string, definition: Definition) {
  const { rows: graphs } = await acme.user.query<{ graph: ServerGraph }>('select to_jsonb(workflow_run_graph($1)) as graph', [run]);
  const { rows: events } = await acme.user.query<RunEvent>(
    `select seq, to_json(ts) #>> '{}' as ts, type, payload from workflow_events where run_id = $1 order by seq`,
    [run],
  );
  const { nodes, connections, status } = graphs[0]!.graph;
  const shape: GraphShape = {
    nodes,
    connections: connections.map(({ source, source_output, target, target_input }) => ({
      source,
      sourceOutput: source_output,
      target,
      targetInput: target_input,
    })),
    failurePorts: failurePortsOf(definition),
  };
  return { shape, events, state: foldRun(shape, events), server: { status, nodes, connections } };
}

const published = new Map<Definition, ReturnType<typeof publishWorkflow>>();
const statuses = (state: RunState) => Object.fromEntries([...state.nodes].map(([node, { status }]) => [node, status]));

async function startRun(definition: Definition, input: unknown = {}): Promise<string> {
  const known = published.get(definition) ?? publishWorkflow(acme, definition);
  published.set(definition, known);
  const { id } = await known;
  const { rows } = await acme.user.query<{ id: string }>('select id from start_workflow_run($1, $2)', [id, JSON.stringify(input)]);
  return rows[0]!.id;
}

async function expectSame(run: string, definition: Definition): Promise<RunState> {
  const { state, server } = await both(run, definition);
  expect(state.status).toBe(server.status);
  for (const { node, status, port, attempt } of server.nodes) {
    // The database leaves the status of a step out that nothing was recorded of.
    if (status === null) expect(['idle', 'queued', 'skipped']).toContain(state.nodes.get(node)!.status);
    else expect([node, state.nodes.get(node)!.status]).toEqual([node, status]);
    if (status === 'success') expect([node, state.nodes.get(node)!.port]).toEqual([node, port]);
    if (status === 'running') expect(state.nodes.get(node)!.attempt).toBe(attempt);
  }
  server.connections.forEach(({ passed }, index) => {
    if (passed) expect(state.passed[index]).toBe(true);
  });
  return state;
}

/** start → large? → (true) tell → answer, (false) rest → answer. */
const BRANCHES: Definition = {
  nodes: [
    { id: 'start', type: 'apiTrigger' },
    { id: 'hook', type: 'webhookTrigger', properties: { path: '/fold', authentication: 'none' } },
    { id: 'large', type: 'if', properties: { when: '$.input.n > 10' } },
    { id: 'tell', type: 'log', properties: { message: 'x' } },
    { id: 'rest', type: 'noOp' },
    { id: 'last', type: 'merge', properties: { mode: 'choose' } },
  ],
  connections: [
    { source: 'start', target: 'large' },
    { source: 'hook', target: 'large' },
    { source: 'large', sourceOutput: 'true', target: 'tell' },
    { source: 'large', sourceOutput: 'false', target: 'rest' },
    { source: 'tell', target: 'last', targetInput: 'main' },
    { source: 'rest', target: 'last', targetInput: 'second' },
  ],
};

describe('the fold of the run page', () => {
  test('follows branches as the engine does, before and after their effects', async () => {
    const run = await startRun(BRANCHES, { n: 11 });
    expect(statuses(await expectSame(run, BRANCHES))).toEqual({
      start: 'success',
      hook: 'skipped',
      large: 'success',
      tell: 'queued',
      rest: 'skipped',
      last: 'idle',
    });
    await engine.finish(run, 'tell', {});
    const done = await expectSame(run, BRANCHES);
    expect(statuses(done)).toMatchObject({ tell: 'success', rest: 'skipped', last: 'success' });
    expect(done.passed).toEqual([true, false, true, false, true, false]);
    const small = await startRun(BRANCHES, { n: 1 });
    expect(statuses(await expectSame(small, BRANCHES))).toMatchObject({ tell: 'skipped', rest: 'success', last: 'success' });
  });

  test('shows every earlier event as the run was then', async () => {
    const run = await startRun(BRANCHES, { n: 11 });
    await engine.finish(run, 'tell', {});
    const { shape, events } = await both(run, BRANCHES);
    const started = events.findIndex(({ type }) => type === 'step.started');
    expect(statuses(foldRun(shape, events.slice(0, 1)))).toMatchObject({ start: 'idle', hook: 'skipped', last: 'idle' });
    const during = foldRun(shape, events.slice(0, started + 1));
    expect([during.status, during.nodes.get('tell')!.status, during.finishedAt]).toEqual(['running', 'running', null]);
    const [queue, work] = foldRun(shape, events).nodes.get('tell')!.spans;
    expect([queue!.kind, work!.kind, queue!.to]).toEqual(['queue', 'work', work!.from]);
  });

  test('goes on at the port of a failure, and stops where the node says so', async () => {
    const definition = (onError: 'errorOutput' | 'stop'): Definition => ({
      nodes: [
        { id: 'start', type: 'apiTrigger' },
        { id: 'effect', type: 'httpRequest', properties: { url: 'https://example.com/' }, onError, retry: { maxAttempts: 1 } },
        { id: 'good', type: 'noOp' },
        { id: 'bad', type: 'noOp' },
      ],
      connections: [
        { source: 'start', target: 'effect' },
        { source: 'effect', target: 'good' },
        onError === 'stop' ? { source: 'good', target: 'bad' } : { source: 'effect', sourceOutput: 'error', target: 'bad' },
      ],
    });
    const fail = async (run: string) =>
      engine.fail((await engine.begin(run, 'effect'))!, { code: 'HTTP_STATUS', message: 'no', retryable: false });
    const handled = await startRun(definition('errorOutput'));
    await fail(handled);
    const state = await expectSame(handled, definition('errorOutput'));
    expect(statuses(state)).toEqual({ start: 'success', effect: 'error', good: 'skipped', bad: 'success' });
    expect(state.passed).toEqual([true, false, true]);
    const stopped = await startRun(definition('stop'));
    await fail(stopped);
    expect(statuses(await expectSame(stopped, definition('stop')))).toMatchObject({ effect: 'error', good: 'skipped', bad: 'skipped' });
  });

  test('waits, pauses and is canceled as the engine says', async () => {
    const definition: Definition = {
      nodes: [
        { id: 'start', type: 'apiTrigger' },
        { id: 'wait', type: 'wait', properties: { signal: 'go' } },
        { id: 'end', type: 'noOp' },
      ],
      connections: [
        { source: 'start', target: 'wait' },
        { source: 'wait', target: 'end' },
      ],
    };
    const run = await startRun(definition);
    const waiting = await expectSame(run, definition);
    expect(waiting.nodes.get('wait')).toMatchObject({ status: 'waiting', wait: { kind: 'signal', name: 'go' } });
    await acme.user.query('select pause_run($1)', [run]);
    expect((await expectSame(run, definition)).status).toBe('paused');
    await acme.user.query('select resume_run($1)', [run]);
    await expectSame(run, definition);
    await acme.user.query('select cancel_run($1)', [run]);
    const canceled = await expectSame(run, definition);
    expect([canceled.status, canceled.nodes.get('wait')!.status]).toEqual(['canceled', 'canceled']);
    expect(canceled.finishedAt).not.toBeNull();
  });
});

interface ServerGraph {
  status: string;
  nodes: { node: string; type: string; status: string | null; port: string | null; attempt: number | null }[];
  connections: { source: string; source_output: string; target: string; target_input: string; passed: boolean }[];
}

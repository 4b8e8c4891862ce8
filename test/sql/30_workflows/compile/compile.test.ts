/** Compiled versions: order of nodes, versions of types, defaults of attempts. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { type Definition, chain } from '../../../helpers/factory.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});

interface CompiledNode {
  id: string;
  [key: string]: unknown;
}

async function compile(definition: Definition) {
  const { rows } = await db.admin.query<{ nodes: CompiledNode[]; vars: string[]; settings: Record<string, unknown> }>(
    'select to_jsonb(p.nodes) as nodes, p.vars, p.settings from engine.compile_version($1) as p',
    [JSON.stringify(definition)],
  );
  const { nodes, vars, settings } = rows[0]!;
  return { nodes, vars, settings, node: (id: string) => nodes.find((node) => node.id === id)! };
}

const start = { id: 'start', type: 'apiTrigger' };
const effect = (more: object = {}) => ({ id: 'n', type: 'httpRequest', properties: { url: 'x' }, ...more });
const edge = (source: string, target: string, more: object = {}) => ({ source, target, ...more });

test('nodes stand in topological order, ties by their place', async () => {
  const nodes = ['d', 'c', 'b', 'a'].map((id) => ({ id, type: 'noOp' }));
  const connections = [edge('start', 'a'), edge('a', 'd'), edge('start', 'c'), edge('b', 'd'), edge('start', 'b')];
  const plan = await compile({ nodes: [...nodes, start], connections });
  expect(plan.nodes.map(({ id }) => id)).toEqual(['start', 'c', 'b', 'a', 'd']);
  expect(plan.node('d')).toMatchObject({ sources: [4, 3], source_ports: ['main', 'main'], target_inputs: ['main', 'main'] });
});

test('types are of the newest version, or the one that is asked for', async () => {
  expect((await compile(chain(start, { id: 'n', type: 'noOp' }))).node('n').type).toBe('noOp@1');
  expect((await compile(chain(start, { id: 'n', type: 'noOp@1' }))).node('n').type).toBe('noOp@1');
});

describe('attempts', () => {
  const attempts = async (more: object, settings: object = {}) =>
    (await compile({ ...chain(start, effect(more)), settings: settings as Record<string, unknown> })).node('n');

  test('have defaults', async () => {
    expect(await attempts({})).toMatchObject({
      max_attempts: 4,
      retry_initial_ms: 1000,
      retry_max_ms: 300_000,
      retry_jitter: true,
      timeout_ms: 30_000,
      on_error: 'stop',
    });
  });

  test('follow the settings, and the node above them', async () => {
    const settings = { maxRetries: 0, timeout: 5, errorHandling: 'continue' };
    expect(await attempts({}, settings)).toMatchObject({ max_attempts: 1, timeout_ms: 5, on_error: 'continue' });
    const retry = { maxAttempts: 9, initialMs: 10, maxMs: 20, jitter: false };
    expect(await attempts({ retry, timeoutMs: 7, onError: 'stop' }, settings)).toMatchObject({
      max_attempts: 9,
      retry_initial_ms: 10,
      retry_max_ms: 20,
      retry_jitter: false,
      timeout_ms: 7,
      on_error: 'stop',
    });
  });

  test('of fixed backoff have one delay', async () => {
    expect(await attempts({ retry: { backoff: 'fixed', initialMs: 500 } })).toMatchObject({ retry_initial_ms: 500, retry_max_ms: 500 });
  });

  test('are one for what is no effect', async () => {
    expect((await compile(chain(start, { id: 'n', type: 'noOp', retry: { maxAttempts: 5 } }))).node('n').max_attempts).toBe(1);
  });

  test('inherited errorOutput counts where something is connected', async () => {
    const plan = await compile({
      nodes: [start, effect({ id: 'a' }), effect({ id: 'b' })],
      connections: [edge('start', 'a'), edge('a', 'b', { sourceOutput: 'error' })],
      settings: { errorHandling: 'errorOutput' },
    });
    expect([plan.node('a'), plan.node('b')]).toMatchObject([
      { on_error: 'errorOutput', ports: ['main', 'error'] },
      { on_error: 'stop', ports: ['main'] },
    ]);
  });
});

test('settings are complete', async () => {
  expect((await compile({ nodes: [start], connections: [], settings: { priority: 5 } })).settings).toEqual({
    errorHandling: 'stop',
    maxRetries: 3,
    timeout: 30_000,
    errorWorkflow: null,
    timezone: 'UTC',
    concurrency: null,
    priority: 5,
    deadlineMs: null,
  });
});

test('what expressions read is known: variables, run, inputs', async () => {
  const plan = await compile(
    chain(
      start,
      { id: 'a', type: 'set', properties: { assign: { x: '{{ $.vars.tax }}', y: '{{ 1 | default($.vars.rate) }} {{ $.run.id }}' } } },
      { id: 'b', type: 'set', properties: { assign: { x: '{{ $.inputs.main[0] }}' } } },
      { id: 'c', type: 'merge' },
      { id: 'd', type: 'noOp' },
    ),
  );
  expect(plan.vars).toEqual(['rate', 'tax']);
  expect(['a', 'b', 'c', 'd'].map((id) => [plan.node(id)['uses_run'], plan.node(id)['uses_inputs']])).toEqual([
    [true, false],
    [false, true],
    [false, true],
    [false, false],
  ]);
});

test('a plain path is kept flat; everything else in parts', async () => {
  const properties = {
    assign: {
      a: '{{ $.prev.a }}',
      b: '{{ $.nodes.start.b }}',
      c: '{{ $.prev.a | upper }}',
      d: '{{ $.prev[*] }}',
      e: '{{ $.prev.a + $.input.b }}',
    },
  };
  const flat = async (strict: boolean) =>
    (
      (await compile(chain(start, { id: 'n', type: 'set', properties, strict }))).node('n')['expressions'] as {
        place: string[];
        source: string | null;
        parts: unknown;
      }[]
    ).map(({ place, source, parts }) => [place[1], source, parts === null]);
  expect(await flat(false)).toEqual([
    ['a', 'prev', true],
    ['b', 'nodes', true],
    ['c', null, false],
    ['d', null, false],
    ['e', null, false],
  ]);
  expect((await flat(true)).every(([, source]) => source === null)).toBe(true);
});

test('credentials, pin, disabled and strict are carried over', async () => {
  const { node } = await compile(chain(start, effect({ credentials: { auth: 'crm' }, pin: [1], disabled: true, strict: true })));
  expect(node('n')).toMatchObject({ credentials: { auth: 'crm' }, pin: [1], disabled: true, is_strict: true });
});

test('the largest definition compiles', async () => {
  const nodes = Array.from({ length: 499 }, (_, index) => ({
    id: `n${index}`,
    type: 'set',
    properties: { assign: { a: '{{ $.prev.a }}', b: 'x {{ $.prev.b }}' } },
  }));
  const definition = chain(start, ...nodes);
  const { rows } = await db.admin.query('select count(*)::int as problems from validate_workflow($1)', [JSON.stringify(definition)]);
  expect(rows[0].problems).toBe(0);
  expect((await compile(definition)).nodes).toHaveLength(500);
});

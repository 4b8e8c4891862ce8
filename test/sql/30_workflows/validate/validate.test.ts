/** validate_workflow(): every problem of a definition, with its code and pointer. */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { expression, json } from '../../../helpers/arbitraries.ts';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { type Definition, chain, createOrganization } from '../../../helpers/factory.ts';
import { type TestNode, definitionFor, validate } from '../../../helpers/nodes.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});

const start: TestNode = { id: 'start', type: 'manualTrigger' };
const noOp = (id: string, more: object = {}) => ({ id, type: 'noOp', ...more });
const set = (assign: object, more: object = {}): TestNode => ({ id: 'n', type: 'set', properties: { assign }, ...more });
const edge = (source: string, target: string, more: object = {}) => ({ source, target, ...more });
const places = async (definition: unknown) => (await validate(db, definition)).map(({ pointer, code }) => `${pointer} ${code}`).sort();

describe('a definition', () => {
  test('without a problem has none', async () => {
    expect(await validate(db, chain(start, set({ a: '{{ $.prev.a }}' }), noOp('end')))).toEqual([]);
    expect(await validate(db, { nodes: [start] })).toEqual([]);
  });

  test.each<[string, unknown, string[]]>([
    ['that is null', null, [' INVALID_DEFINITION']],
    ['that is a list', [], [' INVALID_DEFINITION']],
    ['without nodes', {}, [' INVALID_DEFINITION']],
    ['with nodes that are no list', { nodes: {} }, ['/nodes INVALID_DEFINITION']],
    ['with no node', { nodes: [] }, ['/nodes NO_TRIGGER']],
    [
      'with nodes that are none',
      { nodes: [1, null, {}] },
      ['/nodes/0 INVALID_DEFINITION', '/nodes/1 INVALID_DEFINITION', '/nodes/2 INVALID_DEFINITION', '/nodes/2 INVALID_DEFINITION'],
    ],
    ['with a key too many', { nodes: [start], edges: [] }, ['/edges INVALID_DEFINITION']],
    ['with a setting too many', { nodes: [start], settings: { a: 1 } }, ['/settings/a INVALID_DEFINITION']],
    [
      'with wrong settings',
      { nodes: [start], settings: { maxRetries: 1.5, timeout: 0, errorHandling: 'x', timezone: 'X/Y', errorWorkflow: 'w' } },
      [
        '/settings/errorHandling INVALID_DEFINITION',
        '/settings/errorWorkflow INVALID_DEFINITION',
        '/settings/maxRetries INVALID_DEFINITION',
        '/settings/timeout INVALID_DEFINITION',
        '/settings/timezone UNKNOWN_TIME_ZONE',
      ],
    ],
    [
      'with keys of JavaScript',
      chain(start, set({ ['__proto__']: 1, constructor: {} })),
      ['/nodes/1/properties/assign/__proto__ RESERVED_KEY', '/nodes/1/properties/assign/constructor RESERVED_KEY'],
    ],
    [
      'with wrong things on a node',
      { nodes: [{ ...start, position: { x: '1' }, disabled: 1, retry: { maxAttempts: 0 }, name: 'x'.repeat(201), credentials: { a: 1 } }] },
      [
        '/nodes/0/credentials/a INVALID_DEFINITION',
        '/nodes/0/disabled INVALID_DEFINITION',
        '/nodes/0/name INVALID_DEFINITION',
        '/nodes/0/position INVALID_DEFINITION',
        '/nodes/0/position/x INVALID_DEFINITION',
        '/nodes/0/retry/maxAttempts INVALID_DEFINITION',
      ],
    ],
  ])('%s has a problem at its place', async (_case, definition, problems) => {
    expect(await places(definition)).toEqual(problems);
  });

  test('with wrong settings still shows the other problems', async () => {
    expect(await places({ nodes: [start, noOp('a')], connections: [edge('a', 'a')], settings: { timeout: -1 } })).toEqual([
      '/connections CYCLE',
      '/settings/timeout INVALID_DEFINITION',
    ]);
  });

  test('with a number that JavaScript cannot hold is refused', async () => {
    const { rows } = await db.admin.query(
      `select pointer, code from validate_workflow('{"nodes": [{"id": "a", "type": "manualTrigger", "pin": [1e400]}]}')`,
    );
    expect(rows).toEqual([{ pointer: '/nodes/0/pin/0', code: 'NUMBER_OUT_OF_RANGE' }]);
  });
});

describe('the limits', () => {
  const many = (count: number) => Array.from({ length: count }, (_, index) => noOp(`n${index}`));
  const deep = (levels: number) => JSON.parse(`${'['.repeat(levels)}${']'.repeat(levels)}`);

  test('hold', async () => {
    const nodes = [start, ...many(499)];
    expect(await places({ nodes, connections: many(499).map(({ id }) => edge('start', id)) })).toEqual([]);
    // The definition, the list of nodes, the node, its properties and the template are five levels.
    expect(await places(definitionFor({ id: 'n', type: 'transform', properties: { template: deep(60) } }))).toEqual([]);
  });

  test.each<[string, unknown, string[]]>([
    ['1 MiB', chain(start, set({ a: 'x'.repeat(1024 * 1024) })), [' TOO_LARGE']],
    ['64 levels', definitionFor({ id: 'n', type: 'transform', properties: { template: deep(62) } }), [' TOO_DEEP']],
    ['1,000 levels', { nodes: deep(1000) }, [' TOO_DEEP']],
    ['500 nodes', { nodes: [start, ...many(500)] }, ['/nodes INVALID_DEFINITION']],
    [
      '2,000 connections',
      { nodes: [start], connections: Array.from({ length: 2001 }, () => edge('start', 'start')) },
      ['/connections INVALID_DEFINITION'],
    ],
    ['5,000 expressions', chain(start, set({ a: Array(5001).fill('{{1}}') })), [' TOO_LARGE']],
    ['64 characters of an id', chain({ ...start, id: 'x'.repeat(65) }), ['/nodes/0/id INVALID_DEFINITION']],
  ])('%s are not passed', async (_limit, definition, problems) => {
    expect(await places(definition)).toEqual(problems);
  });
});

describe('nodes', () => {
  test.each<[string, Definition['nodes'], string[]]>([
    ['of one id, ignoring case', [start, { ...start, id: 'START', type: 'apiTrigger' }], ['/nodes/1/id DUPLICATE_ID']],
    ['with an id that is none', [{ ...start, id: '1a' }], ['/nodes/0/id INVALID_DEFINITION']],
    ['with a letter beyond ASCII in the id', [{ ...start, id: 'größe' }], ['/nodes/0/id INVALID_DEFINITION']],
    ['of an unknown type', [start, { id: 'x', type: 'teleport' }], ['/nodes/1 UNREACHABLE', '/nodes/1/type UNKNOWN_TYPE']],
    ['of an unknown version', [start, { id: 'x', type: 'set@99' }], ['/nodes/1 UNREACHABLE', '/nodes/1/type UNKNOWN_TYPE']],
    ['of which none starts', [noOp('a')], ['/nodes NO_TRIGGER', '/nodes/0 UNREACHABLE']],
    ['of which two start alike', [start, { id: 'b', type: 'manualTrigger' }], ['/nodes/1 DUPLICATE_TRIGGER']],
    ['that nothing leads to', [start, noOp('a')], ['/nodes/1 UNREACHABLE']],
  ])('%s are refused', async (_case, nodes, problems) => {
    expect(await places({ nodes })).toEqual(problems);
  });

  const webhook = (id: string, path: string, method?: unknown): TestNode => ({
    id,
    type: 'webhookTrigger',
    properties: { path, ...(method ? { method } : {}) },
  });

  test('two webhooks are told apart by path and method', async () => {
    expect(await places({ nodes: [webhook('a', '/x'), webhook('b', '/x', ['GET', 'PUT']), webhook('c', '/x/:id')] })).toEqual([]);
    expect(await places({ nodes: [webhook('a', '/x/:id'), webhook('b', 'x/:key/', ['GET', 'POST'])] })).toEqual([
      '/nodes/1 DUPLICATE_TRIGGER',
    ]);
  });

  test.each([
    '',
    '/',
    '/a b',
    '/ä',
    '/../a',
    '/a/%2e',
    '/:',
    '/:1',
    '/:a/:a',
    `/${'a/'.repeat(17)}`,
    `/${'a'.repeat(600)}`,
    '/a?b=1',
    '/a\n',
  ])('no webhook has the path %j', async (path) => {
    expect(await places({ nodes: [webhook('a', path)] })).toEqual(['/nodes/0/properties/path INVALID_PROPERTY']);
  });
});

describe('properties', () => {
  const node = (type: string, properties: Record<string, unknown>): TestNode => ({ id: 'n', type, properties });

  test.each<[TestNode, string[]]>([
    [node('if', {}), [' INVALID_PROPERTY']],
    [node('if', { when: 5 }), ['/when INVALID_PROPERTY']],
    [node('httpRequest', { url: 'x', method: 'FETCH', bogus: 1 }), ['/bogus INVALID_PROPERTY', '/method INVALID_PROPERTY']],
    [node('httpRequest', { url: '{{ $.prev }}', method: '{{ $.prev }}', headers: '{{ $.prev }}' }), []],
    [node('switch', { rules: [] }), ['/rules INVALID_PROPERTY']],
    [node('switch', { rules: [{}] }), ['/rules/0 INVALID_PROPERTY']],
    [node('switch', { rules: [{ equals: 1 }] }), [' INVALID_PROPERTY']],
    [node('switch', { rules: [{ when: 'true' }], value: 1 }), [' INVALID_PROPERTY']],
    [node('switch', { rules: [{ when: 'true', port: '{{ $.prev }}' }] }), ['/rules/0/port INVALID_PROPERTY']],
    [node('merge', { mode: 'fields' }), [' INVALID_PROPERTY']],
    [node('merge', { mode: '{{ $.prev }}' }), ['/mode INVALID_PROPERTY']],
    [node('set', { assign: '{{ $.prev }}' }), ['/assign INVALID_PROPERTY']],
    [node('set', { pick: ['a', 1] }), ['/pick/1 INVALID_PROPERTY']],
    [node('set', { types: { a: 'date' } }), ['/types/a INVALID_PROPERTY']],
    [node('transform', {}), [' INVALID_PROPERTY']],
    [node('transform', { template: 1, path: '1' }), [' INVALID_PROPERTY']],
    [node('wait', {}), [' INVALID_PROPERTY']],
    [node('wait', { seconds: -1 }), ['/seconds INVALID_PROPERTY']],
    [node('wait', { seconds: 1, until: 'x' }), [' INVALID_PROPERTY']],
    [node('wait', { signal: 'a', webhook: {} }), [' INVALID_PROPERTY']],
    [node('wait', { signal: 'a:b' }), ['/signal INVALID_PROPERTY']],
    [node('wait', { seconds: 1, timeoutSeconds: 1 }), [' INVALID_PROPERTY']],
    [node('wait', { signal: 'a', timezone: 'UTC' }), [' INVALID_PROPERTY']],
    [node('wait', { approval: { role: 'guest' } }), ['/approval/role INVALID_PROPERTY']],
    [node('wait', { webhook: { method: 'TRACE' } }), ['/webhook/method INVALID_PROPERTY']],
    [node('executeWorkflow', {}), [' INVALID_PROPERTY']],
    [node('forEach', { workflow: 'w', concurrency: 0 }), ['/concurrency INVALID_PROPERTY']],
    [node('forEach', { workflow: 'w', maxItems: 10001 }), ['/maxItems INVALID_PROPERTY']],
    [node('repeat', { workflow: 'w' }), [' INVALID_PROPERTY']],
    [node('repeat', { workflow: 'w', until: '{{ $.item }}' }), ['/until INVALID_EXPRESSION']],
    [node('stopAndError', { message: '', code: 'x y' }), ['/code INVALID_PROPERTY', '/message INVALID_PROPERTY']],
    [node('respondToWebhook', { status: 99, headers: { a: [] } }), ['/headers/a INVALID_PROPERTY', '/status INVALID_PROPERTY']],
    [node('log', { level: 'loud' }), [' INVALID_PROPERTY', '/level INVALID_PROPERTY']],
    [node('noOp', { a: 1 }), ['/a INVALID_PROPERTY']],
  ])('%j', async (subject, problems) => {
    expect(await places(definitionFor(subject, subject.type === 'merge' ? { inputs: { second: [] } } : {}))).toEqual(
      problems.map((problem) => `/nodes/1/properties${problem}`),
    );
  });
});

describe('expressions', () => {
  test.each<[TestNode, string]>([
    [set({ 'a/b~c': ['{{ $.prev. }}'] }), '/nodes/1/properties/assign/a~1b~0c/0 INVALID_EXPRESSION'],
    [set({ a: '{{ $.prev' }), '/nodes/1/properties/assign/a INVALID_EXPRESSION'],
    [{ id: 'n', type: 'if', properties: { when: '{{ $.prev.a }}' } }, '/nodes/1/properties/when INVALID_EXPRESSION'],
    [{ id: 'n', type: 'transform', properties: { path: 'prev' } }, '/nodes/1/properties/path INVALID_EXPRESSION'],
    [{ id: 'n', type: 'switch', properties: { rules: [{ when: '$.' }] } }, '/nodes/1/properties/rules/0/when INVALID_EXPRESSION'],
    [set({ a: '{{ $.nodes.nobody.a }}' }), '/nodes/1/properties/assign/a UNKNOWN_REFERENCE'],
    [set({ a: '{{ $.nodes.n.a }}' }), '/nodes/1/properties/assign/a UNKNOWN_REFERENCE'],
    [set({ a: '{{ $.prev | default($.nodes.nobody) }}' }), '/nodes/1/properties/assign/a UNKNOWN_REFERENCE'],
    [set({ a: '{{ $.inputs.second }}' }), '/nodes/1/properties/assign/a UNKNOWN_REFERENCE'],
  ])('%j', async (subject, problem) => {
    expect(await places(definitionFor(subject))).toEqual([problem]);
  });

  test('of a message say at which character', async () => {
    expect(await validate(db, definitionFor(set({ a: 'Dear {{ $.prev.name | shout }}' })))).toMatchObject([
      { message: expect.stringMatching(/^there is no filter shout; .* \(at character 23\)$/) },
    ]);
  });

  test('read nodes that run before, not beside or after', async () => {
    const nodes = [start, noOp('left'), noOp('right'), set({ a: '{{ $.nodes.left }} {{ $.nodes.start }} {{ $.nodes.right }}' })];
    expect(await places({ nodes, connections: [edge('start', 'left'), edge('start', 'right'), edge('left', 'n')] })).toEqual([
      '/nodes/3/properties/assign/a UNKNOWN_REFERENCE',
    ]);
    expect(
      await places({ nodes, connections: [edge('start', 'left'), edge('start', 'right'), edge('left', 'n'), edge('right', 'n')] }),
    ).toEqual([]);
  });

  test('are no expressions in a trigger, and in what is fixed', async () => {
    expect(await places({ nodes: [{ id: 'a', type: 'webhookTrigger', properties: { path: '/{{ a }}' } }] })).toEqual([
      '/nodes/0/properties/path INVALID_PROPERTY',
    ]);
    expect(await places(definitionFor({ id: 'n', type: 'set', properties: { rename: { a: '{{ b' }, pick: ['{{'] } }))).toEqual([]);
  });
});

describe('connections', () => {
  const graph = (connections: unknown[], ...more: TestNode[]) =>
    places({ nodes: [start, { id: 'if', type: 'if', properties: { when: '$.prev.a' } }, ...more], connections });
  const first = edge('start', 'if');

  test.each<[string, unknown[], string[]]>([
    ['from nowhere', [first, edge('nobody', 'if')], ['/connections/1/source UNKNOWN_NODE']],
    ['to nowhere', [first, edge('start', 'nobody')], ['/connections/1/target UNKNOWN_NODE']],
    ['from a port that is not there', [first, edge('if', 'end')], ['/connections/1/sourceOutput UNKNOWN_PORT']],
    [
      'to an input that is not there',
      [first, edge('if', 'end', { sourceOutput: 'true', targetInput: 'second' })],
      ['/connections/1/targetInput UNKNOWN_INPUT'],
    ],
    ['to a trigger', [first, edge('if', 'start', { sourceOutput: 'true' })], ['/connections CYCLE', '/connections/1/target UNKNOWN_INPUT']],
    ['made twice', [first, edge('start', 'if', { sourceOutput: 'main', targetInput: 'main' })], ['/connections/1 DUPLICATE_CONNECTION']],
    ['to itself', [first, edge('if', 'if', { sourceOutput: 'true' })], ['/connections CYCLE']],
    [
      'from the port error of a node that has none',
      [first, edge('if', 'end', { sourceOutput: 'error' })],
      ['/connections/1/sourceOutput UNKNOWN_PORT'],
    ],
    ['without a source', [first, { target: 'if' }], ['/connections/1 INVALID_DEFINITION']],
  ])('%s are refused', async (_case, connections, problems) => {
    expect(
      await graph(connections, { id: 'end', type: 'noOp' }).then((found) => found.filter((problem) => problem !== '/nodes/2 UNREACHABLE')),
    ).toEqual(problems);
  });

  test('two ports of a node may lead to one input', async () => {
    expect(
      await graph([first, edge('if', 'end', { sourceOutput: 'true' }), edge('if', 'end', { sourceOutput: 'false' })], noOp('end')),
    ).toEqual([]);
  });

  test('of a cycle name its nodes, and not those behind it', async () => {
    const nodes = ['a', 'b', 'c', 'behind'].map((id) => noOp(id));
    const connections = [edge('start', 'a'), edge('a', 'b'), edge('b', 'c'), edge('c', 'a'), edge('c', 'behind')];
    expect(await validate(db, { nodes: [start, ...nodes], connections })).toEqual([
      { pointer: '/connections', code: 'CYCLE', message: expect.stringContaining('the nodes a, b, c form a cycle') },
    ]);
  });

  test('a switch has the ports of its rules', async () => {
    const node = {
      id: 'n',
      type: 'switch',
      properties: { rules: [{ when: '$.prev.a' }, { when: '$.prev.b', port: 'b' }], fallback: 'else' },
    };
    const connections = ['0', 'b', 'else'].map((sourceOutput) => edge('n', 'end', { sourceOutput }));
    expect(await places({ nodes: [start, node, noOp('end')], connections: [edge('start', 'n'), ...connections] })).toEqual([]);
    expect(
      await places({
        nodes: [start, node, noOp('end')],
        connections: [edge('start', 'n'), edge('n', 'end', { sourceOutput: 'fallback' })],
      }),
    ).toContain('/connections/1/sourceOutput UNKNOWN_PORT');
  });

  test('errorOutput needs one at the port error', async () => {
    const failing = { id: 'n', type: 'httpRequest', properties: { url: 'x' }, onError: 'errorOutput' };
    expect(await places(chain(start, failing, noOp('end')))).toEqual(['/nodes/1/onError ERROR_OUTPUT_UNCONNECTED']);
    const definition = chain(start, failing, noOp('end'));
    definition.connections[1]!.sourceOutput = 'error';
    expect(await places(definition)).toEqual([]);
  });
});

describe('whatever it is given', () => {
  const junk = fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: json });
  const id = fc.constantFrom('a', 'b', 'c', 'start', 'A', '', '1', 'nobody');
  const node = fc.record({
    id: fc.oneof({ weight: 9, arbitrary: id }, { weight: 1, arbitrary: json }),
    type: fc.oneof(
      {
        weight: 9,
        arbitrary: fc.constantFrom(
          'manualTrigger',
          'webhookTrigger',
          'set',
          'if',
          'switch@1',
          'filter',
          'merge',
          'transform',
          'wait',
          'httpRequest',
          'log',
          'x',
        ),
      },
      { weight: 1, arbitrary: json },
    ),
    properties: fc.oneof(
      json,
      fc.dictionary(
        fc.constantFrom(
          'when',
          'assign',
          'template',
          'items',
          'rules',
          'value',
          'path',
          'url',
          'message',
          'pick',
          'types',
          'method',
          'seconds',
        ),
        fc.oneof(
          json,
          expression,
          expression.map((text) => `a {{${text}}} b`),
          fc.array(fc.record({ when: expression, port: junk })),
        ),
      ),
    ),
    onError: junk,
    retry: junk,
    strict: junk,
  });
  const connection = fc.oneof(
    {
      weight: 9,
      arbitrary: fc.record({
        source: id,
        target: id,
        sourceOutput: fc.constantFrom('main', 'true', 'error', '0'),
        targetInput: fc.constantFrom('main', 'second'),
      }),
    },
    { weight: 1, arbitrary: json },
  );
  const definition = fc.record({
    nodes: fc.oneof({ weight: 9, arbitrary: fc.array(node, { maxLength: 6 }) }, { weight: 1, arbitrary: json }),
    connections: fc.oneof({ weight: 9, arbitrary: fc.array(connection, { maxLength: 8 }) }, { weight: 1, arbitrary: json }),
    settings: junk,
  });

  test('the answer is a list of problems, and what has none compiles', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof({ weight: 4, arbitrary: definition }, { weight: 1, arbitrary: json }), async (given) => {
        const problems = await validate(db, given ?? null);
        for (const problem of problems)
          expect(problem).toEqual({
            pointer: expect.stringMatching(/^(\/|$)/),
            code: expect.stringMatching(/^[A-Z_]+$/),
            message: expect.stringMatching(/./),
          });
        if (problems.length === 0) await db.admin.query('select engine.compile_version($1)', [JSON.stringify(given)]);
      }),
      { numRuns: 400 },
    );
  });
});

test('anybody with a token may validate', async () => {
  const { rows } = await db.admin.query(
    `select has_function_privilege('flowgres_user', 'public.validate_workflow(jsonb)', 'execute') as may`,
  );
  expect(rows[0].may).toBe(true);
});

test('a notice names a workflow that does not exist, and an input that nothing leads to', async () => {
  const organization = await createOrganization(db, 'Notices');
  const nodes = [
    { id: 'start', type: 'apiTrigger' },
    { id: 'call', type: 'executeWorkflow', properties: { workflow: 'Nowhere' } },
    { id: 'chosen', type: 'executeWorkflow', properties: { workflow: '{{ $.prev.name }}' } },
    { id: 'joined', type: 'merge', properties: { mode: 'fields', by: 'id' } },
    { id: 'either', type: 'merge' },
  ];
  const connections = nodes.slice(1).map(({ id }, place) => ({ source: nodes[place]!.id, target: id }));
  const notices = async () =>
    (await organization.user.query('select pointer, code, severity from validate_workflow($1)', [JSON.stringify({ nodes, connections })]))
      .rows;
  const unconnected = { pointer: '/nodes/3', code: 'UNCONNECTED_INPUT', severity: 'notice' };
  expect(await notices()).toEqual([{ pointer: '/nodes/1/properties/workflow', code: 'MISSING_WORKFLOW', severity: 'notice' }, unconnected]);
  await organization.user.query(`select id from create_workflow('Nowhere', '{"nodes": []}')`);
  expect(await notices()).toEqual([unconnected]);
});

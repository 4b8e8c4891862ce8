/** Small exports of n8n, of our own making: their nodes, and what a run of the imported workflow gives. */

export interface Node {
  name: string;
  type: string;
  typeVersion: number;
  position: number[];
  parameters: unknown;
  [option: string]: unknown;
}
export interface Document {
  name?: string;
  nodes: unknown[];
  connections: unknown;
  settings?: Record<string, unknown>;
}

export const node = (name: string, type: string, typeVersion: number, parameters: unknown = {}, more: object = {}): Node => ({
  id: `id of ${name}`,
  name,
  type: `n8n-nodes-base.${type}`,
  typeVersion,
  position: [240, 300],
  parameters,
  ...more,
});

/** Connections from outputs to nodes: `to(['A'], ['B', 'C'])` leads from output 0 to A and from output 1 to B and C. */
export const to = (...outputs: string[][]) => ({
  main: outputs.map((targets) => targets.map((target) => ({ node: target, type: 'main', index: 0 }))),
});

/** Nodes one after the other, behind a trigger whose item is the input of the run. */
export function line(...nodes: Node[]): Document {
  const all = [node('In', 'executeWorkflowTrigger', 1.1, { inputSource: 'passthrough' }), ...nodes];
  return { nodes: all, connections: Object.fromEntries(all.slice(1).map((next, index) => [all[index]!.name, to([next.name])])) };
}

export const assignments = (...fields: [name: string, type: string, value: unknown][]) => ({
  assignments: { assignments: fields.map(([name, type, value], index) => ({ id: String(index), name, type, value })) },
});
/** A Set that evaluates one expression, or one value, as `v`. */
export const setV = (value: unknown, type = 'any') => line(node('Out', 'set', 3.4, assignments(['v', type, value])));

interface Condition {
  type: string;
  operation: string;
  right?: unknown;
  options?: object;
}
export const conditions = ({ type, operation, right = '', options = {} }: Condition, left = '={{ $json.v }}') => ({
  conditions: {
    options: { caseSensitive: true, leftValue: '', typeValidation: 'strict', version: 2, ...options },
    combinator: 'and',
    conditions: [{ id: 'c', leftValue: left, rightValue: right, operator: { type, operation, singleValue: true } }],
  },
});
/** An if with outputs to T and F. */
export function branch(condition: Condition): Document {
  return branches(node('If', 'if', 2.2, conditions(condition)));
}
export function branches(decision: Node): Document {
  const doc = line(decision);
  const ends = [node('T', 'noOp', 1), node('F', 'noOp', 1)];
  return { nodes: [...doc.nodes, ...ends], connections: { ...(doc.connections as object), [decision.name]: to(['T'], ['F']) } };
}

/** [export, input, output of the last node]; none of them has a problem. */
export const RUNS: Record<string, [Document, unknown, unknown]> = {
  'a path': [setV('={{ $json.a.b }}'), { a: { b: 1 } }, { v: 1 }],
  'a key in brackets': [setV('={{ $json["first name"] }}'), { 'first name': 'Ada' }, { v: 'Ada' }],
  'a node by its name': [setV("={{ $('In').item.json.a }}"), { a: 2 }, { v: 2 }],
  'a node by its name, as of old': [setV('={{ $node["In"].json["a"] }}'), { a: 2 }, { v: 2 }],
  'the input of the node': [setV('={{ $input.first().json.a }}'), { a: 2 }, { v: 2 }],
  'a text around expressions': [setV('=Hi {{ $json.a }}, {{ $json.b }}!'), { a: 'Ada' }, { v: 'Hi Ada, !' }],
  'braces that are a text': [setV('{{ x }}'), {}, { v: '{{ x }}' }],
  'a text as a literal': [setV("={{ 'x' }}"), {}, { v: 'x' }],
  'a number as a literal': [setV('={{ 12.5 }}'), {}, { v: 12.5 }],
  '|| of an empty text': [setV("={{ $json.a || 'none' }}"), { a: '' }, { v: 'none' }],
  '|| of 0': [setV("={{ $json.a || 'none' }}"), { a: 0 }, { v: 'none' }],
  '|| of false': [setV("={{ $json.a || 'none' }}"), { a: false }, { v: 'none' }],
  '|| of nothing': [setV("={{ $json.a || 'none' }}"), {}, { v: 'none' }],
  '|| of a text': [setV("={{ $json.a || 'none' }}"), { a: 'x' }, { v: 'x' }],
  '|| of a list': [setV("={{ $json.a || 'none' }}"), { a: [] }, { v: [] }],
  '|| of an object': [setV('={{ $json.a.b || $json.c }}'), { a: { b: { x: 1 } }, c: 2 }, { v: { x: 1 } }],
  '?? of an empty text': [setV("={{ $json.a ?? 'none' }}"), { a: '' }, { v: '' }],
  '?? of nothing, twice': [setV("={{ $json.a ?? $json.b ?? 'none' }}"), {}, { v: 'none' }],
  'a ternary that holds': [setV("={{ $json.a === 'x' ? 'yes' : 'no' }}"), { a: 'x' }, { v: 'yes' }],
  'a ternary that does not': [setV("={{ $json.a === 5 ? 'yes' : $json.b }}"), { a: '5', b: 'B' }, { v: 'B' }],
  'a ternary of unequal': [setV("={{ $json.a !== 'x' ? 1 : 2 }}"), {}, { v: 1 }],
  'cases of letters': [setV('={{ $json.a.trim().toUpperCase() }}'), { a: ' ada ' }, { v: 'ADA' }],
  split: [setV("={{ $json.a.split(',') }}"), { a: 'a,b' }, { v: ['a', 'b'] }],
  'replace of all': [setV("={{ $json.a.replace(/-/g, '+') }}"), { a: 'a-b-c' }, { v: 'a+b+c' }],
  replaceAll: [setV("={{ $json.a.replaceAll('-', '+').toLowerCase() }}"), { a: 'A-B-C' }, { v: 'a+b+c' }],
  slice: [setV('={{ $json.a.slice(1, -1) }}'), { a: 'abcd' }, { v: 'bc' }],

  'Set: types': [
    line(
      node(
        'Out',
        'set',
        3.4,
        assignments(
          ['s', 'string', '={{ $json.n }}'],
          ['n', 'number', '5'],
          ['e', 'number', '={{ $json.t }}'],
          ['b', 'boolean', 'true'],
          ['l', 'array', '[1, "{{ x }}"]'],
          ['o', 'object', { a: '={{ $json.n }}' }],
        ),
      ),
    ),
    { n: 7, t: '1.5' },
    { s: '7', n: 5, e: 1.5, b: true, l: [1, '{{ x }}'], o: { a: 7 } },
  ],
  'Set: dots': [line(node('Out', 'set', 3.4, assignments(['a.b', 'number', 1], ['a.c', 'string', 'x']))), {}, { a: { b: 1, c: 'x' } }],
  'Set: dots as they are': [
    line(node('Out', 'set', 3.4, { ...assignments(['a.b', 'number', 1]), options: { dotNotation: false } })),
    {},
    { 'a.b': 1 },
  ],
  'Set: other fields': [
    line(node('Out', 'set', 3.4, { ...assignments(['a', 'string', 'x']), includeOtherFields: true })),
    { b: 1 },
    { a: 'x', b: 1 },
  ],
  'Set: some other fields': [
    line(
      node('Out', 'set', 3.4, {
        ...assignments(['a', 'string', 'x']),
        includeOtherFields: true,
        include: 'selected',
        includeFields: 'b, c',
      }),
    ),
    { b: 1, c: 2, d: 3 },
    { a: 'x', b: 1, c: 2 },
  ],
  'Set 3.2: fields': [
    line(
      node('Out', 'set', 3.2, {
        fields: {
          values: [
            { name: 'n', type: 'numberValue', numberValue: '3' },
            { name: 's', stringValue: 'x' },
          ],
        },
        include: 'none',
      }),
    ),
    { z: 1 },
    { n: 3, s: 'x' },
  ],
  'Set 3.2: all but': [
    line(node('Out', 'set', 3.2, { fields: { values: [] }, include: 'except', excludeFields: 'z' })),
    { z: 1, y: 2 },
    { y: 2 },
  ],
  'Set 2: keepOnlySet': [
    line(
      node('Out', 'set', 2, {
        keepOnlySet: true,
        values: { string: [{ name: 's', value: '={{ $json.a }}' }], number: [{ name: 'n', value: '4' }] },
      }),
    ),
    { a: 'x' },
    { s: 'x', n: 4 },
  ],
  'Set 1: keeps the others': [
    line(node('Out', 'set', 1, { values: { boolean: [{ name: 'b', value: true }] } })),
    { a: 1 },
    { a: 1, b: true },
  ],
  'Set: JSON': [
    line(node('Out', 'set', 3.4, { mode: 'raw', jsonOutput: '={"t": "Hi {{ $json.a }}", "e": "{{ $json.n }}", "n": {{ $json.n }}}' })),
    { a: 'Ada', n: 5 },
    { t: 'Hi Ada', e: '5', n: 5 },
  ],
  'a filter that lets through': [
    line(node('Only', 'filter', 2.2, conditions({ type: 'number', operation: 'gt', right: 5 })), node('Out', 'noOp', 1)),
    { v: 6 },
    { v: 6 },
  ],
  'a node that is disabled': [setV('={{ $json.a }}'), { a: 1 }, { v: 1 }],
  'Respond passes its input on': [
    line(node('Out', 'respondToWebhook', 1.1, { respondWith: 'text', responseBody: 'x' })),
    { a: 1 },
    { a: 1 },
  ],
};

/** [operator, value (undefined: nothing there), what happens]; `fails` where n8n refuses a value of another type. */
export const CONDITIONS: [Condition, unknown, 'T' | 'F' | 'fails'][] = [
  [{ type: 'string', operation: 'equals', right: 'x' }, 'x', 'T'],
  [{ type: 'string', operation: 'equals', right: 'x' }, 'y', 'F'],
  [{ type: 'string', operation: 'equals', right: 'x' }, undefined, 'F'],
  [{ type: 'string', operation: 'equals', right: '' }, undefined, 'T'],
  [{ type: 'string', operation: 'equals', right: '5' }, 5, 'fails'],
  [{ type: 'string', operation: 'equals', right: 'x' }, ['x'], 'fails'],
  [{ type: 'string', operation: 'notEquals', right: 'x' }, undefined, 'T'],
  [{ type: 'string', operation: 'notEquals', right: 'x' }, null, 'T'],
  [{ type: 'string', operation: 'notEquals', right: 'x' }, 'x', 'F'],
  [{ type: 'string', operation: 'equals', right: 'A.C', options: { caseSensitive: false } }, 'a.c', 'T'],
  [{ type: 'string', operation: 'equals', right: 'A.C', options: { caseSensitive: false } }, 'abc', 'F'],
  [{ type: 'string', operation: 'contains', right: '.' }, 'a.b', 'T'],
  [{ type: 'string', operation: 'contains', right: '.' }, 'ab', 'F'],
  [{ type: 'string', operation: 'notContains', right: 'a' }, undefined, 'T'],
  [{ type: 'string', operation: 'notContains', right: 'a' }, 'abc', 'F'],
  [{ type: 'string', operation: 'startsWith', right: 'a' }, 'abc', 'T'],
  [{ type: 'string', operation: 'endsWith', right: 'c' }, 'abc', 'T'],
  [{ type: 'string', operation: 'endsWith', right: 'b' }, 'abc', 'F'],
  [{ type: 'string', operation: 'exists' }, '', 'T'],
  [{ type: 'string', operation: 'exists' }, undefined, 'F'],
  [{ type: 'number', operation: 'exists' }, 0, 'T'],
  [{ type: 'boolean', operation: 'exists' }, false, 'T'],
  [{ type: 'object', operation: 'exists' }, {}, 'T'],
  [{ type: 'array', operation: 'exists' }, [], 'T'],
  [{ type: 'string', operation: 'notExists' }, null, 'T'],
  [{ type: 'string', operation: 'notExists' }, 'x', 'F'],
  [{ type: 'string', operation: 'empty' }, '', 'T'],
  [{ type: 'string', operation: 'empty' }, undefined, 'T'],
  [{ type: 'string', operation: 'empty' }, 5, 'fails'],
  [{ type: 'string', operation: 'notEmpty' }, 'x', 'T'],
  [{ type: 'array', operation: 'empty' }, [], 'T'],
  [{ type: 'array', operation: 'notEmpty' }, [0], 'T'],
  [{ type: 'object', operation: 'empty' }, {}, 'T'],
  [{ type: 'object', operation: 'notEmpty' }, { a: 1 }, 'T'],
  [{ type: 'array', operation: 'contains', right: 'ab' }, ['xabx'], 'F'],
  [{ type: 'array', operation: 'contains', right: 'ab' }, ['ab'], 'T'],
  [{ type: 'array', operation: 'notContains', right: 'ab' }, undefined, 'T'],
  [{ type: 'array', operation: 'lengthGt', right: 1 }, [1, 2], 'T'],
  [{ type: 'array', operation: 'lengthEquals', right: '0' }, undefined, 'T'],
  [{ type: 'array', operation: 'lengthLte', right: 1 }, 'ab', 'fails'],
  [{ type: 'number', operation: 'notEmpty' }, 0, 'T'],
  [{ type: 'number', operation: 'empty' }, null, 'T'],
  [{ type: 'boolean', operation: 'notEmpty' }, false, 'T'],
  [{ type: 'boolean', operation: 'empty' }, false, 'F'],
  [{ type: 'number', operation: 'equals', right: '5' }, 5, 'T'],
  [{ type: 'number', operation: 'equals', right: '1e3' }, 1000, 'T'],
  [{ type: 'number', operation: 'equals', right: 5 }, '5', 'fails'],
  [{ type: 'number', operation: 'gt', right: 5 }, [9], 'fails'],
  [{ type: 'number', operation: 'notEquals', right: 5 }, undefined, 'T'],
  [{ type: 'number', operation: 'lt', right: 5 }, undefined, 'F'],
  [{ type: 'number', operation: 'lt', right: 5 }, null, 'T'],
  [{ type: 'number', operation: 'gte', right: 5 }, 5, 'T'],
  [{ type: 'number', operation: 'equals', right: 20, options: { typeValidation: 'loose' } }, '20', 'T'],
  [{ type: 'number', operation: 'gt', right: 5, options: { typeValidation: 'loose' } }, '20', 'T'],
  [{ type: 'number', operation: 'gt', right: 5, options: { typeValidation: 'loose' } }, 'many', 'fails'],
  [{ type: 'boolean', operation: 'true' }, true, 'T'],
  [{ type: 'boolean', operation: 'false' }, undefined, 'T'],
  [{ type: 'boolean', operation: 'true' }, 'true', 'fails'],
  [{ type: 'boolean', operation: 'notEquals', right: true }, false, 'T'],
];

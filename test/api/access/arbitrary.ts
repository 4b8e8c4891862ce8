/** Arguments that nobody should send, by their type in SQL or GraphQL. */
import fc from 'fast-check';
import { type GraphQLInputType, isEnumType, isInputObjectType, isListType, isNonNullType } from 'graphql';
import type { World } from './fixture.ts';

/** The ids of everything that an organization has. */
export const idsOf = ({ organization, owner, other, team, invitation, tokenId, sessionId, workflow, template, run, waiting }: World) => [
  ...[organization.id, owner.id, other.id, team, invitation.id, tokenId, sessionId, workflow.id, template, run, waiting],
];

const NIL = '00000000-0000-0000-0000-000000000000';
const TEXTS = [
  '',
  ' ',
  '\u0000',
  '\ud800',
  'a\u0000b',
  '\u202e<script>',
  "'; drop table users; --",
  '%s%n',
  '{{ $.x }}',
  '../..',
  'null',
  '☃',
];
const LONG = ['x'.repeat(100_000), '😀'.repeat(20_000), '\\'.repeat(5_000), '('.repeat(5_000), '-'.repeat(3_000)];
const TIMES = ['infinity', '-infinity', '9999-12-31', '294276-12-31T23:59:59Z', '294277-01-01', '4714-01-01 BC', '2026-02-30', 'now', ''];
const NUMBERS = [
  0,
  -0,
  -1,
  1,
  2 ** 31 - 1,
  -(2 ** 31),
  2 ** 31,
  2 ** 53,
  2 ** 63,
  1e300,
  -1e308,
  0.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
];

const text = fc.oneof(fc.constantFrom(...TEXTS), fc.constantFrom(...LONG), fc.string({ unit: 'binary', maxLength: 50 }));
const time = fc.oneof(
  fc.constantFrom(...TIMES),
  fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
);
const number = fc.oneof(fc.constantFrom(...NUMBERS), fc.integer(), fc.double());
const deep = (depth: number, open: string, close: string, inner = 'null') => JSON.parse(open.repeat(depth) + inner + close.repeat(depth));
const json = fc.oneof(
  fc.jsonValue({ maxDepth: 5 }),
  fc.constantFrom<unknown>(
    ...[null, true, 0, '', [], {}, '\u0000', '\ud800', { __proto__: 1 }, JSON.parse('{"__proto__": {"a": 1}, "constructor": 1}')],
    ...[deep(65, '[', ']'), deep(3_000, '[', ']'), deep(1_000, '{"a":', '}'), { nodes: deep(500, '[', ']') }, { [LONG[0]!]: 1 }],
    ...[
      { nodes: null, connections: null },
      { nodes: [null], connections: [null] },
      { nodes: [{}], connections: [{}] },
    ],
    ...[
      { nodes: [{ id: 1, type: 2 }], connections: [] },
      { nodes: [{ id: 'a', type: '\ud800' }], connections: [] },
    ],
    { nodes: Array.from({ length: 600 }, (_, index) => ({ id: `n${index}`, type: 'noOp' })), connections: [] },
    { nodes: [{ id: 'start', type: 'apiTrigger', properties: deep(40, '{"a":', '}') }], connections: [], settings: 1e300 },
    { nodes: [{ id: 'start', type: 'apiTrigger' }], connections: [{ source: 'start', target: 'start' }] },
    { nodes: [{ id: 'clock', type: 'scheduleTrigger', properties: { cron: LONG[4], timezone: '\u0000' } }], connections: [] },
  ),
);

const uuid = (ids: string[]) =>
  fc.oneof(fc.constantFrom(...ids), fc.uuid(), fc.constantFrom(NIL, 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'not an id', ''));

/** A value for an argument of that SQL type, also none. */
export function ofSqlType(type: string, ids: string[]): fc.Arbitrary<unknown> {
  const values: Record<string, fc.Arbitrary<unknown>> = {
    uuid: uuid(ids),
    text,
    integer: number,
    bigint: number,
    boolean: fc.boolean(),
    jsonb: json,
    'timestamp with time zone': time,
    date: time,
    'text[]': fc.array(fc.option(text), { maxLength: 4 }),
  };
  // Rows: ids and more, as callers may make them up.
  return fc.option(values[type] ?? fc.record({ id: uuid(ids), organization_id: uuid(ids), status: text, started_at: time }));
}

/** A value for an argument of that GraphQL type; null also where it must not be. */
export function ofGraphqlType(type: GraphQLInputType, ids: string[], depth = 2): fc.Arbitrary<unknown> {
  if (isNonNullType(type)) return ofGraphqlType(type.ofType, ids, depth);
  if (isListType(type)) return fc.option(fc.array(ofGraphqlType(type.ofType, ids, depth), { maxLength: 3 }));
  if (isEnumType(type)) return fc.constantFrom(null, 'NONE', ...type.getValues().map(({ name }) => name));
  if (isInputObjectType(type)) {
    if (depth === 0) return fc.constant(null);
    const fields = Object.values(type.getFields()).map((field) => [field.name, ofGraphqlType(field.type, ids, depth - 1)]);
    return fc.option(fc.record(Object.fromEntries(fields) as Record<string, fc.Arbitrary<unknown>>, { requiredKeys: [] }));
  }
  const values: Record<string, fc.Arbitrary<unknown>> = {
    UUID: uuid(ids),
    Int: number,
    BigInt: fc.oneof(number, number.map(String), text),
    Float: number,
    Boolean: fc.boolean(),
    JSON: json,
    Datetime: time,
    Date: time,
    Cursor: fc.oneof(
      text,
      json.map((value) => Buffer.from(JSON.stringify(value) ?? '').toString('base64')),
    ),
    ID: fc.oneof(
      text,
      json.map((value) => Buffer.from(JSON.stringify(value) ?? '').toString('base64')),
    ),
  };
  return fc.option(values[type.name] ?? text);
}

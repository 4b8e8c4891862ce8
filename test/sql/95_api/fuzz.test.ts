/** Every function of the API, called with invalid arguments. */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, asAnonymous, createTestDatabase } from '../../helpers/database.ts';
import { Driver } from '../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../helpers/factory.ts';

interface ApiFunction {
  name: string;
  types: string[];
}

const db: TestDatabase = await createTestDatabase();
/** Those that a request may call with plain values; computed columns take rows that there are. */
const { rows: functions } = await db.admin.query<ApiFunction>(`
  select p.proname as name, array(select format_type(t, null) from unnest(p.proargtypes) as t) as types
  from pg_proc as p
  where p.pronamespace = 'public'::regnamespace
    and has_function_privilege('flowgres_user', p.oid, 'execute')
    and not exists (select from unnest(p.proargtypes) as t join pg_type as y on y.oid = t where y.typtype = 'c')
  order by p.proname, p.oid`);

let acme: TestOrganization;
let ids: string[];
beforeAll(async () => {
  acme = await createOrganization(db);
  const workflow = await publishWorkflow(
    acme,
    chain({ id: 'start', type: 'apiTrigger' }, { id: 'note', type: 'log', properties: { message: 'x' } }),
  );
  const { run_id } = await new Driver(db).start(acme, workflow);
  ids = [acme.id, acme.userId, workflow.id, run_id!];
});

const DEEP = `${'['.repeat(2_000)}${']'.repeat(2_000)}`;
const text = fc.oneof(
  fc.constantFrom(
    '',
    ' ',
    "'; drop table users; --",
    '%',
    '\\',
    '\u202e<script>',
    'x'.repeat(10_240),
    'a@b.c',
    'owner',
    '* * * * *',
    'UTC',
    '😀'.repeat(300),
    'a\r\nBcc: all@example.com',
    '\u0001\u007f\u0085\u2028',
    'a@example.com\n',
    'owner@b.example from 203.0.113.0/24',
  ),
  fc.string({ unit: 'grapheme', maxLength: 40 }).filter((each) => !each.includes('\0')),
);
const json = fc.oneof(
  fc.constantFrom(
    'null',
    '{}',
    '[]',
    '""',
    '0',
    '1e308',
    'true',
    DEEP,
    '{"nodes": null}',
    '{"nodes": [1, {"id": 2}], "connections": [[]]}',
    '{"": ""}',
  ),
  fc.json({ maxDepth: 4 }).filter((each) => !each.includes('\\u0000') && !/\\ud[89a-f]/i.test(each)),
);
const list = (of: fc.Arbitrary<string | null>) => fc.array(fc.option(of), { maxLength: 30 });
const VALUES: Record<string, () => fc.Arbitrary<unknown>> = {
  uuid: () => fc.oneof(fc.constantFrom(...ids), fc.constant('00000000-0000-0000-0000-000000000000'), fc.uuid()),
  text: () => text,
  jsonb: () => json,
  integer: () => fc.oneof(fc.constantFrom(0, 1, -1, 2_147_483_647, -2_147_483_648), fc.integer()),
  bigint: () => fc.constantFrom('0', '-1', '9223372036854775807'),
  boolean: () => fc.boolean(),
  numeric: () => fc.constantFrom('0', '-1', 'NaN', '1e100', 'Infinity'),
  'double precision': () => fc.constantFrom('0', 'NaN', 'Infinity', '-Infinity'),
  'timestamp with time zone': () =>
    fc.constantFrom(
      'infinity',
      '-infinity',
      '9999-12-31',
      '294276-01-01',
      '4713-01-01 BC',
      '2026-03-29 02:30',
      '0001-01-01 00:00:00.0000004',
    ),
  'timestamp without time zone': () => fc.constantFrom('infinity', '-infinity', '9999-12-31'),
  date: () => fc.constantFrom('infinity', '-infinity', '5874897-01-01', '2026-02-28'),
  interval: () => fc.constantFrom('0', '-1 day', '178000000 years', '1 microsecond'),
  'text[]': () => list(text),
  'uuid[]': () => list(fc.uuid()),
};

/** What a call may end with: an error of ours, a value that its type does not have, or no right. */
const ALLOWED = /^(WF\d{3}|22[0-9A-Z]{3}|42501)$/;

/** The outcome in one word; nothing of it stays. */
async function call({ name, types }: ApiFunction, values: unknown[]): Promise<string> {
  const places = types.map((type, place) => `$${place + 1}::${type}`).join(', ');
  try {
    await acme.user.transaction(async (client) => {
      await client.query(`set local statement_timeout = '5s'`);
      await client.query(`select * from public.${name}(${places})`, values);
      throw new Error('undo');
    });
    return 'done';
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return code === undefined && message === 'undo' ? 'done' : ALLOWED.test(code ?? '') ? 'refused' : `${code} ${message}`;
  }
}

const label = ({ name, types }: ApiFunction) => `${name}(${types.join(', ')})`;

describe('a call without its arguments is answered or refused:', () => {
  test.each(functions.map((each) => [label(each), each] as const))('%s', async (_name, each) => {
    expect(
      await call(
        each,
        each.types.map(() => null),
      ),
    ).toMatch(/^(done|refused)$/);
  });
});

describe('a call with impossible arguments is answered or refused:', () => {
  test.each(functions.filter(({ types }) => types.length > 0).map((each) => [label(each), each] as const))(
    '%s',
    async (_name, each) => {
      const values = fc.tuple(
        ...each.types.map((type) => {
          const arbitrary = VALUES[type];
          if (!arbitrary) throw new Error(`no values of ${type}`);
          return fc.option(arbitrary(), { freq: 8 });
        }),
      );
      await fc.assert(
        fc.asyncProperty(values, async (some) => {
          expect(await call(each, some)).toMatch(/^(done|refused)$/);
        }),
        { numRuns: 40, seed: 17 },
      );
    },
    120_000,
  );
});

/** What editors of files read without a token. */
const OPEN = ['workflow_schema'];

describe('without a token', () => {
  test.each(functions.filter(({ name }) => !OPEN.includes(name)).map((each) => [label(each), each] as const))(
    '%s does nothing',
    async (_name, { name, types }) => {
      const places = types.map((type) => `null::${type}`).join(', ');
      const anonymous = asAnonymous(db);
      const outcome = await anonymous.query(`select * from public.${name}(${places})`).then(
        ({ rows }) => rows.flatMap((row) => Object.values(row)).filter((value) => value !== null && value !== false),
        (error: { code: string }) => (ALLOWED.test(error.code) ? [] : [error.code]),
      );
      expect(outcome).toEqual([]);
    },
  );
});

test('a request cannot put its own functions in the place of PostgreSQL’s', async () => {
  const hijack = acme.user.transaction(async (client) => {
    await client.query(`create function pg_temp.now() returns timestamptz language sql as $$ select 'infinity'::timestamptz $$`);
    await client.query(`set local search_path = pg_temp, public`);
    const { rows } = await client.query<{ created_at: Date }>(`select created_at from public.create_workflow('Now', '{}')`);
    return rows[0]!.created_at;
  });
  // Either it may not make one, or nobody uses it.
  const createdAt = await hijack.catch((error: { code: string }) => error.code);
  expect(createdAt === '42501' || createdAt instanceof Date).toBe(true);
});

/** engine.register_node(): SQL functions as nodes, and which are refused. */
import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { runNode, validate } from '../../../helpers/nodes.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
  await db.admin.query(`
    create schema custom;
    create schema creatable;
    grant create on schema creatable to flowgres_sql;
    grant usage on schema custom to flowgres_owner`);
});

const ARGUMENTS = 'properties jsonb, prev jsonb, inputs jsonb';
const GOOD = 'immutable security definer set search_path = pg_catalog, pg_temp';

async function create(
  name: string,
  options: { arguments?: string; returns?: string; attributes?: string; body?: string; owner?: string } = {},
) {
  const {
    arguments: taken = ARGUMENTS,
    returns = 'returns jsonb',
    attributes = GOOD,
    body = 'select prev',
    owner = 'flowgres_sql',
  } = options;
  await db.admin.query(`create function custom.${name}(${taken}) ${returns} language sql ${attributes} as $$ ${body} $$`);
  await db.admin.query(`alter function custom.${name} owner to ${owner}`);
}

const register = (name: string, more = '') =>
  db.admin.query(`select * from engine.register_node('${name}', 'custom.${name}'::regproc ${more})`);

const runLocal = async (name: string): Promise<{ output?: unknown; error?: { code: string } }> => {
  const { rows } = await db.admin.query('select engine.run_local($1) as outcome', [{ type: `${name}@1`, properties: {}, input: null }]);
  return rows[0].outcome;
};

test('a registered function is a node type, run as flowgres_sql', async () => {
  await create('whoami', { body: `select jsonb_build_object('role', current_user, 'given', properties, 'prev', prev, 'inputs', inputs)` });
  await register('whoami', `, properties => '{"type": "object", "required": ["x"]}'`);
  const { port, output } = await runNode(db, { id: 'n', type: 'whoami', properties: { x: '{{ $.prev.a }}' } }, { prev: { a: 1 } });
  expect({ port, output }).toEqual({
    port: 'main',
    output: { role: 'flowgres_sql', given: { x: 1 }, prev: { a: 1 }, inputs: { main: [{ a: 1 }] } },
  });
  const definition = {
    nodes: [
      { id: 's', type: 'manualTrigger' },
      { id: 'n', type: 'whoami' },
    ],
    connections: [{ source: 's', target: 'n' }],
  };
  expect(await validate(db, definition)).toEqual([{ pointer: '/nodes/1/properties', code: 'INVALID_PROPERTY', message: 'x is missing' }]);
});

test('it may choose its port', async () => {
  await create('gate', {
    arguments: `${ARGUMENTS}, out port text, out output jsonb`,
    returns: '',
    body: `select case when prev = '1' then 'yes' else 'no' end, prev`,
  });
  await register('gate', `, ports => '{yes,no}'`);
  expect(await runNode(db, { id: 'n', type: 'gate' }, { prev: 1 })).toMatchObject({ port: 'yes', output: 1 });
});

test('a new version leaves what is compiled with the old one alone', async () => {
  await create('greet', { body: `select '"one"'::jsonb` });
  await register('greet');
  await create('greet2', { body: `select '"two"'::jsonb` });
  await db.admin.query(`select engine.register_node('greet', 'custom.greet2'::regproc, version => 2)`);
  expect((await runNode(db, { id: 'n', type: 'greet@1' })).output).toBe('one');
  expect((await runNode(db, { id: 'n', type: 'greet' })).output).toBe('two');
});

test.each<[string, Parameters<typeof create>[1], string]>([
  ['other arguments', { arguments: 'prev jsonb, b jsonb' }, 'takes'],
  ['another result', { returns: 'returns text', body: `select 'x'` }, 'returns jsonb'],
  ['a set as result', { returns: 'returns setof jsonb' }, 'takes'],
  ['another owner', { owner: 'flowgres_owner' }, 'belongs to flowgres_sql'],
  ["the caller's rights", { attributes: 'immutable set search_path = pg_catalog' }, 'security definer'],
  ['no search path', { attributes: 'immutable security definer' }, 'search_path'],
  ['side effects', { attributes: 'volatile security definer set search_path = pg_catalog' }, 'immutable'],
])('a function with %s is refused', async (_case, options, message) => {
  const name = `bad_${Math.random().toString(36).slice(2)}`;
  await create(name, options);
  await expect(db.admin.query(`select engine.register_node('bad', 'custom.${name}'::regproc)`)).rejects.toMatchObject({
    code: 'WF009',
    message: expect.stringContaining(message),
  });
});

test('a function in a schema where flowgres_sql could replace it is refused', async () => {
  await db.admin.query(`create function creatable.f(${ARGUMENTS}) returns jsonb language sql ${GOOD} as 'select prev'`);
  await db.admin.query('alter function creatable.f owner to flowgres_sql');
  await expect(db.admin.query(`select engine.register_node('f', 'creatable.f'::regproc)`)).rejects.toMatchObject({
    code: 'WF009',
    message: expect.stringContaining('no CREATE'),
  });
});

test.each<[string, string, string]>([
  ['runs with the rights of its caller', 'pure', 'security invoker'],
  ['runs with the rights of its caller', 'local', 'security invoker'],
  ['belongs to somebody else', 'pure', 'owner to flowgres_user'],
  ['is not immutable', 'pure', 'volatile'],
])('a function that, since it was registered, %s (%s) is not called', async (_what, kind, change) => {
  const name = `changed${Math.random().toString(36).slice(2)}`;
  await create(name, { body: `select to_jsonb(current_user::text)` });
  await register(name, `, kind => '${kind}'`);
  const run = async () => (kind === 'pure' ? (await runNode(db, { id: 'n', type: name })).output : runLocal(name));
  expect(JSON.stringify(await run())).toContain('flowgres_sql');
  // What the function itself could do, running as its owner.
  await db.admin.query(`alter function custom.${name} ${change}`);
  if (kind === 'pure') await expect(run()).rejects.toMatchObject({ code: 'WF012', detail: expect.stringContaining('NODE_CHANGED') });
  else expect(await run()).toMatchObject({ error: { code: 'NODE_CHANGED' } });
});

test('a local function need not be immutable; it has one input', async () => {
  await create('draw', { attributes: 'volatile security definer set search_path = pg_catalog', body: 'select to_jsonb(random())' });
  await register('draw', `, kind => 'local'`);
  expect(await runLocal('draw')).toMatchObject({ output: expect.any(Number) });
  await expect(register('draw', `, kind => 'local', inputs => '{main,second}'`)).rejects.toMatchObject({ code: 'WF009' });
  await expect(register('draw', `, kind => 'effect'`)).rejects.toMatchObject({ code: 'WF009' });
});

test('built-in types cannot be replaced, and a function is needed', async () => {
  await create('own_set');
  await expect(db.admin.query(`select engine.register_node('set', 'custom.own_set'::regproc)`)).rejects.toMatchObject({ code: 'WF009' });
  await expect(db.admin.query(`select engine.register_node('set2', null)`)).rejects.toMatchObject({ code: 'WF009' });
});

test('only DBAs register nodes', async () => {
  const { rows } = await db.admin.query(
    `select r.rolname from pg_roles as r
     where r.rolname like 'flowgres_%' and has_function_privilege(r.rolname, 'engine.register_node(text, regprocedure, text, text, jsonb, text[], text[], int, text, text, text)', 'execute')
     order by 1`,
  );
  expect(rows.map(({ rolname }) => rolname)).toEqual(['flowgres_dba', 'flowgres_owner']);
});

test('it belongs to the group of custom types, or to the one that it names, and has no page unless it names one', async () => {
  await create('plain');
  await create('shown');
  const shown = (name: string) => db.admin.query('select category, icon, docs from public.node_types() where name = $1', [name]);
  await register('plain');
  expect((await shown('plain')).rows).toEqual([{ category: 'custom', icon: 'puzzle', docs: null }]);
  await register('shown', `, category => 'list', icon => 'list-tree', docs => 'https://example.com/shown'`);
  expect((await shown('shown')).rows).toEqual([{ category: 'list', icon: 'list-tree', docs: 'https://example.com/shown' }]);
});

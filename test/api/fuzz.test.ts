/** Arbitrary arguments for everything that is exposed: refused or not, never a failure of ours. */
import fc from 'fast-check';
import { GraphQLError } from 'graphql';
import { beforeAll, expect, test } from 'vitest';
import { errorMask } from '../../src/graphql/errors.ts';
import { serveGraphql, type TestServer } from '../helpers/graphql.ts';
import { undoCommits } from '../helpers/undo.ts';
import { idsOf, ofGraphqlType, ofSqlType } from './access/arbitrary.ts';
import { type Arguments, ARGUMENTS, GRAPHQL_ARGUMENTS, requireArguments } from './access/arguments.ts';
import { type Caller, createCallers } from './access/callers.ts';
import { type ApiFunction, callSql, readFunctions } from './access/calls.ts';
import { createWorlds, type Worlds } from './access/fixture.ts';
import { ask, camel, type Field, inputsOf, readFields, snake } from './access/graphql.ts';
import { rounds } from '../helpers/rounds.ts';

let worlds: Worlds;
let callers: Caller[];
let ids: string[];
let server: TestServer;
let functions: ApiFunction[];
let roots: { kind: string; field: Field }[];
beforeAll(async () => {
  worlds = await createWorlds();
  callers = (await createCallers(worlds)).filter(({ name }) => /^(anonymous|member|owner|runs:write|super admin)$/.test(name));
  ids = [...idsOf(worlds.acme), ...idsOf(worlds.globex)];
  functions = await readFunctions(worlds.db);
  requireArguments(functions);
  const { query, mutation } = await readFields(worlds);
  roots = [...query.map((field) => ({ kind: 'query', field })), ...mutation.map((field) => ({ kind: 'mutation', field }))];
  server = await serveGraphql(worlds.db);
  undoCommits();
});

/** As long as each half of it may take in the suite; FUZZ_MS looks longer. */
const LIMITS = { interruptAfterTimeLimit: Number(process.env['FUZZ_MS'] ?? rounds(3_000, 7_000)), numRuns: 100_000, endOnFailure: true };
const TIMEOUT = LIMITS.interruptAfterTimeLimit + 30_000;

/** Some of the arguments are right, others are anything. */
const mixed = (right: Arguments, wrong: Arguments, chosen: boolean[]): Arguments =>
  Object.fromEntries(
    Object.entries(wrong).flatMap(([name, value], index) => {
      if (!chosen[index % chosen.length]) return name in right ? [[name, right[name]]] : [];
      return [[name, value]];
    }),
  );
const CHOSEN = fc.array(fc.boolean(), { minLength: 4, maxLength: 4 });

test(
  'no arguments of a function in SQL',
  async () => {
    const { admin } = worlds.db;
    const call = fc.constantFrom(...functions).chain((each) => {
      const types = Object.entries(each.types).map(([name, type]) => [name, ofSqlType(type, ids)] as const);
      return fc.tuple(
        fc.constant(each),
        fc.record(Object.fromEntries(types)) as fc.Arbitrary<Arguments>,
        CHOSEN,
        fc.constantFrom(...callers),
      );
    });
    await fc.assert(
      fc.asyncProperty(call, async ([each, wrong, chosen, caller]) => {
        const args = mixed(ARGUMENTS[each.name]!(worlds.acme), wrong, chosen);
        const { code, sqlstate, message } = await caller.session.transaction(async (client) => {
          await client.query(`set local statement_timeout = '5s'`);
          return callSql(client, each, args);
        });
        if (code !== 'ok') expect(told(sqlstate), `${each.name}: ${sqlstate} ${message}`).not.toBe('INTERNAL');
        expect(sqlstate ?? '', message).not.toMatch(/^(XX|42(?!501)|23|0A|P0)/);
      }),
      LIMITS,
    );
    expect((await admin.query('select 1')).rowCount).toBe(1);
  },
  TIMEOUT,
);

test(
  'no arguments of a query or a mutation',
  async () => {
    const call = fc.constantFrom(...roots).chain((root) => {
      const types = Object.entries(inputsOf(root.field)).map(([name, type]) => [name, ofGraphqlType(type, ids)] as const);
      return fc.tuple(
        fc.constant(root),
        fc.record(Object.fromEntries(types)) as fc.Arbitrary<Arguments>,
        CHOSEN,
        fc.constantFrom(...callers),
      );
    });
    await fc.assert(
      fc.asyncProperty(call, async ([{ kind, field }, wrong, chosen, caller]) => {
        const known = (ARGUMENTS[snake(field.name)] ?? GRAPHQL_ARGUMENTS[field.name])?.(worlds.acme) ?? {};
        const right = Object.fromEntries(Object.entries(known).map(([name, value]) => [camel(name), value]));
        const { parameters, text, variables } = ask(field, mixed(right, wrong, chosen), '');
        const list = parameters.length ? `(${parameters.join(', ')})` : '';
        const selection = /JSON|Boolean|Int|String|UUID|BigInt/.test(String(field.type)) && kind === 'query' ? '' : '{ __typename }';
        const { status, errors } = await server.query(caller.secret, `${kind} ${list} { ${text} ${selection} }`, variables);
        expect(status).toBeLessThan(500);
        for (const { message, extensions } of errors ?? []) {
          expect(extensions?.code, `${field.name}: ${message} ${JSON.stringify(server.logged.at(-1))}`).toMatch(/^(?!INTERNAL)[A-Z_]+$/);
        }
      }),
      LIMITS,
    );
    expect((await server.query(null, '{ __typename }')).status).toBe(200);
  },
  TIMEOUT,
);

/** What a client of GraphQL would be told of an error of the database. */
function told(sqlstate: string | undefined): unknown {
  const originalError = Object.assign(new Error('x'), { code: sqlstate, severity: 'ERROR', detail: '{"code": "OURS"}' });
  return errorMask(() => undefined)(new GraphQLError('x', { originalError })).extensions['code'];
}

/**
 * Every list of the schema is read page by page, forwards and backwards, in every order that it has: each row once, also
 * when rows are added or deleted between two pages. A list that is new in the schema is tested here by being there.
 */
import { readFileSync } from 'node:fs';
import { type GraphQLObjectType, buildSchema, getNamedType, isEnumType, isLeafType, isObjectType } from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { printGraphqlSchema } from '../../src/graphql/server.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';
import { type World, createWorlds } from './access/fixture.ts';
import { type Field, snake } from './access/graphql.ts';
import { type Table, byHand, deleteRow, insertRow, multiply, plainText } from './access/many_rows.ts';

const schema = buildSchema(readFileSync(new URL('../../schema.graphql', import.meta.url), 'utf8'));
const PAGE = 2;

interface List {
  /** As `Type.field`. */
  name: string;
  field: Field;
  /** The type of a row. */
  row: GraphQLObjectType | null;
  /** Orders to be read in: those of `orderBy`, or the only one. */
  orders: (string | null)[];
}

const isList = (field: Field) => /Connection!?$/.test(String(field.type));
const types = Object.values(schema.getTypeMap()).filter(isObjectType);
const lists = types.flatMap((type) =>
  Object.values(type.getFields())
    .filter(isList)
    .map((field): List => {
      const nodes = (getNamedType(field.type) as GraphQLObjectType).getFields()['nodes']!;
      const row = getNamedType(nodes.type);
      const orderBy = field.args.find(({ name }) => name === 'orderBy');
      const order = orderBy && getNamedType(orderBy.type);
      // A relation is the same list with a condition. What is used is another order after every call.
      const orders =
        type === schema.getQueryType() && isEnumType(order)
          ? order.getValues().flatMap(({ name }) => (/^USED_/.test(name) ? [] : name))
          : [null];
      return { name: `${type.name}.${field.name}`, field, row: isObjectType(row) ? row : null, orders };
    }),
);

let db: TestDatabase;
let acme: World;
let server: TestServer;
let tables: Map<string, Table>;
beforeAll(async () => {
  ({ db, acme } = await createWorlds({ unchecked: true }));
  tables = await multiply(db, acme);
  await acme.owner.user.query('select save_workflow($1, $2, $3)', [
    acme.workflow.id,
    JSON.stringify({ nodes: [{ id: 'other', type: 'apiTrigger' }], connections: [] }),
    acme.workflow.revision,
  ]);
  await acme.owner.user.query('select assign_workflow($1, $2)', [acme.workflow.id, acme.team]);
  await db.admin.query('update workflow_runs set parent_run_id = $1 where organization_id = $2 and id <> $1', [
    acme.run,
    acme.organization.id,
  ]);
  await db.admin.query('update credentials set team_id = $1, is_shared = false where organization_id = $2', [
    acme.team,
    acme.organization.id,
  ]);
  // As many calls as there are pages; and rows whose limit is null.
  await db.admin.query(`delete from plan_limits where metric = 'api_calls_per_hour'`);
  server = await serveGraphql(db, { accessLogSample: 0 });
}, 120_000);
afterAll(() => server?.close());

/** Where an object of a type is found, as a field of Query. */
const PARENTS: Record<string, () => string> = {
  Query: () => '',
  Organization: () => 'currentOrganization',
  Plan: () => `planBySlug(slug: "pro")`,
  Team: () => `team(id: "${acme.team}")`,
  OrganizationUser: () => `organizationUser(organizationId: "${acme.organization.id}", userId: "${acme.other.id}")`,
  User: () => `user(id: "${acme.owner.id}")`,
  Workflow: () => `workflow(id: "${acme.workflow.id}")`,
  'Workflow.runs': () => `workflow(id: "${acme.failing}")`,
  WorkflowRun: () => `workflowRun(id: "${acme.failed}")`,
  'WorkflowRun.children': () => `workflowRun(id: "${acme.run}")`,
  'WorkflowRun.logs': () => `workflowRun(id: "${acme.run}")`,
};

const COUNTING = { nodes: [{ id: 'start', type: 'apiTrigger' }], connections: [] };
const INVALID = {
  nodes: [{ id: 'a b', type: 'nonsense' }, { id: 'a b' }, { type: 'set', extra: 1 }],
  connections: [{ source: 'x' }],
  extra: 1,
};
/** Arguments that make a list a long one. */
const ARGUMENTS: Record<string, () => Record<string, unknown>> = {
  findDataRows: () => ({ dataTableId: acme.table }),
  getWorkflowRunEvents: () => ({ runId: acme.failed }),
  planWorkflows: () => ({ documents: Array.from({ length: 5 }, (_, place) => ({ name: `Planned ${place}`, definition: COUNTING })) }),
  previewSchedule: () => ({ cron: '0 9 * * *', count: 7 }),
  testWorkflow: () => ({ definition: COUNTING }),
  validateWorkflow: () => ({ definition: INVALID }),
  workflowVersionDiff: () => ({ workflowId: acme.workflow.id, fromVersion: 1 }),
};
/** Lists that have few rows: there are three metrics of teams, and one organization here. */
const SHORT = new Set([
  'OrganizationUser.teams',
  'Query.organizations',
  'Query.teamLimits',
  'Query.testWorkflow',
  'Team.limits',
  'User.memberships',
]);

/** What is another value in the next request. */
const PASSING = new Set(['used', 'payload', 'lastSeenAt', 'lastUsedAt']);

interface Page {
  rows: string[];
  cursors: string[];
  /** Of the rows, as JSON lists of texts; null where a row has no global id. */
  keys: (string | null)[];
  pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean; startCursor: string | null; endCursor: string | null };
}

/** A page of a list. Places of pages and orders are variables, so that a list is one document. */
async function read({ name, field, row }: List, order: string | null, page: Record<string, unknown>): Promise<Page> {
  const [typeName] = name.split('.');
  const parent = PARENTS[name] ?? PARENTS[typeName!];
  if (!parent) throw new Error(`Where is a ${typeName}, which has the list ${field.name}? Add it to PARENTS.`);
  const given = {
    first: null,
    last: null,
    after: null,
    before: null,
    ...page,
    ...ARGUMENTS[field.name]?.(),
    ...(order && { orderBy: [order] }),
  };
  const args = field.args.filter(({ name: each }) => each in given);
  const leaves = Object.values(row?.getFields() ?? {}).filter(
    (each) => isLeafType(getNamedType(each.type)) && each.args.length === 0 && !PASSING.has(each.name),
  );
  const selection = row ? `{ ${leaves.map((each) => each.name).join(' ')} }` : '';
  const list = `${field.name}(${args.map((each) => `${each.name}: $${each.name}`).join(', ')}) {
    edges { cursor node ${selection} } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }`;
  const path = parent();
  const data = await server.data(
    acme.owner.secret,
    `query (${args.map((each) => `$${each.name}: ${each.type}`).join(', ')}) { ${path ? `parent: ${path} { ${list} }` : list} }`,
    given,
  );
  const { edges, pageInfo } = (path ? data.parent : data)[field.name] as {
    edges: { cursor: string; node: Record<string, unknown> }[];
    pageInfo: Page['pageInfo'];
  };
  return {
    rows: edges.map(({ node }) => JSON.stringify(node)),
    cursors: edges.map(({ cursor }) => cursor),
    keys: edges.map(({ node }) => keyOf(node)),
    pageInfo,
  };
}

function keyOf(node: Record<string, unknown>): string | null {
  const { nodeId, id } = node ?? {};
  if (typeof nodeId === 'string')
    return JSON.stringify((JSON.parse(Buffer.from(nodeId, 'base64').toString()) as unknown[]).slice(1).map(plainText));
  return typeof id === 'string' ? JSON.stringify([id]) : null;
}

/** From a cursor on to the end, a page at a time. */
async function readForwards(list: List, order: string | null, after: string | null = null): Promise<Page> {
  const all: Page = {
    rows: [],
    cursors: [],
    keys: [],
    pageInfo: { hasNextPage: true, hasPreviousPage: false, startCursor: null, endCursor: after },
  };
  while (all.pageInfo.hasNextPage) {
    const page = await read(list, order, { first: PAGE, after: all.pageInfo.endCursor });
    expect(page.pageInfo).toMatchObject({ startCursor: page.cursors.at(0) ?? null, endCursor: page.cursors.at(-1) ?? null });
    if (page.pageInfo.hasNextPage) expect(page.rows).toHaveLength(PAGE);
    append(all, page);
    if (all.rows.length > 500) throw new Error(`The list ${list.name} does not end.`);
  }
  return all;
}

function append(all: Page, { rows, cursors, keys, pageInfo }: Page): void {
  all.rows.push(...rows);
  all.cursors.push(...cursors);
  all.keys.push(...keys);
  all.pageInfo = pageInfo;
}

/** From a cursor back to the beginning, in the order of the list. */
async function readBackwards(list: List, order: string | null, before: string | null = null): Promise<string[]> {
  const pages: string[][] = [];
  let cursor = before;
  for (let hasPreviousPage = true; hasPreviousPage; ) {
    const page = await read(list, order, { last: PAGE, before: cursor });
    if (page.pageInfo.hasPreviousPage) expect(page.rows).toHaveLength(PAGE);
    pages.unshift(page.rows);
    ({ hasPreviousPage, startCursor: cursor } = page.pageInfo);
    if (pages.length > 250) throw new Error(`The list ${list.name} does not begin.`);
  }
  return pages.flat();
}

describe('every list has each row once, page by page', () => {
  test.each(lists)('$name', async (list) => {
    const whole = await read(list, list.orders[0]!, { first: 200 });
    if (!SHORT.has(list.name)) expect(whole.rows.length).toBeGreaterThan(2 * PAGE);
    expect(new Set(whole.rows).size).toBe(whole.rows.length);
    for (const order of list.orders) {
      const all = await read(list, order, { first: 200 });
      expect(all.rows.toSorted(), order ?? '').toEqual(whole.rows.toSorted());
      expect((await readForwards(list, order)).rows, order ?? '').toEqual(all.rows);
      expect(await readBackwards(list, order), order ?? '').toEqual(all.rows);
    }
  });
});

/** Tables whose names are not the plural of a type's. */
const TABLES: Record<string, string> = {
  ApiAccessLog: 'public.api_access_log',
  ApiToken: 'private.api_tokens',
  AuditLog: 'public.audit_log',
  PlanSubscription: 'public.subscriptions',
  Session: 'private.sessions',
  WebhookDelivery: 'public.webhook_deliveries',
};
const tableOf = ({ row }: List) => row && (TABLES[row.name] ?? `public.${snake(row.name).slice(1)}s`);
/** Lists whose rows are no rows of a table: nothing comes and goes by itself. */
const COMPUTED =
  /^(CredentialType|Entitlement|NodeType|WorkflowTemplate|WorkflowChange|WorkflowDifference|WorkflowProblem|WorkflowTestEvent|WorkflowRunStep|Usage\w*)$/;
const stored = lists.filter(({ row }) => row && !COMPUTED.test(row.name));

describe('rows that come and go between two pages move no other one', () => {
  test.each(stored)('$name', async (list) => {
    const table = tables.get(tableOf(list)!);
    if (!table) throw new Error(`Which table has the rows of ${list.name}? Add it to TABLES.`);
    const [order] = list.orders as [string | null];
    const all = await readForwards(list, order);
    // Two beside each other that nothing depends on.
    const made = (place: number) => all.keys[place] !== undefined && table.made.has(all.keys[place]!);
    const at = all.keys.findIndex((_key, place) => made(place) && made(place + 1));
    if (at < 0) return expect([...SHORT, 'Plan.limits', 'Query.planLimits', 'Query.users']).toContain(list.name);

    const client = await byHand(db);
    const gone: Record<string, unknown>[] = [];
    try {
      // The last row that was read is deleted, and one before it.
      const read = all.cursors[at + 1]!;
      for (const place of [at, at + 1]) gone.push(await deleteRow(client, table, JSON.parse(all.keys[place]!) as string[]));
      expect((await readForwards(list, order, read)).rows).toEqual(all.rows.slice(at + 2));
      expect(await readBackwards(list, order, read)).toEqual(all.rows.slice(0, at));

      // They come again, one of them behind what was read and one before it.
      await insertRow(client, table.name, gone.pop()!);
      expect((await readForwards(list, order, all.cursors[at]!)).rows).toEqual(all.rows.slice(at + 1));
      expect(await readBackwards(list, order, read)).toEqual(all.rows.slice(0, at));
    } finally {
      for (const row of gone) await insertRow(client, table.name, row);
      client.release(true);
    }
  });
});

describe('a cursor that is none of the list', () => {
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64');
  const refusal = async (text: string, variables: Record<string, unknown> = {}) =>
    (await server.query(acme.owner.secret, text, variables)).errors?.map(({ extensions }) => extensions);
  const refused = (field: string) => [
    { code: 'INVALID_ARGUMENT', hint: expect.stringContaining('pageInfo.endCursor'), details: { field } },
  ];

  test.each([
    ['text', 'nonsense'],
    ['nothing', ''],
    ['another text in base64', 'bmF0dXJhbA=='],
    ['a number of rows', encode(['natural', 2])],
    ['an object', encode({ id: 1 })],
    ['an empty list', encode([])],
    ['a list of lists', encode(['PRIMARY_KEY_ASC', ['a']])],
    ['what cannot be stored', encode(['x', '\0'])],
    ['too long', 'x'.repeat(20_000)],
  ])('%s is refused by the name of its argument', async (_case, cursor) => {
    for (const argument of ['after', 'before']) {
      for (const list of ['workflows', 'searchWorkflows', 'previewSchedule']) {
        const more = list === 'previewSchedule' ? ', cron: "@daily"' : '';
        const inner = list === 'previewSchedule' ? 'nodes' : 'nodes { id }';
        expect(await refusal(`query ($c: Cursor) { ${list}(${argument}: $c${more}) { ${inner} } }`, { c: cursor })).toEqual(
          refused(argument),
        );
      }
      expect(
        await refusal(`query ($c: Cursor) { currentOrganization { teams(${argument}: $c) { nodes { id } } } }`, { c: cursor }),
      ).toEqual(refused(argument));
    }
  });

  test('belongs to another order, another list, or was changed', async () => {
    const { workflows, searchWorkflows } = await server.data(
      acme.owner.secret,
      '{ workflows(first: 1, orderBy: NAME_ASC) { pageInfo { endCursor } } searchWorkflows(first: 1) { pageInfo { endCursor } } }',
    );
    const { endCursor: after } = workflows.pageInfo;
    const ask =
      'query ($a: Cursor, $o: [WorkflowOrderBy!]) { workflows(after: $a, orderBy: $o) { edges { cursor } pageInfo { hasNextPage } } }';
    expect(await refusal(ask, { a: after, o: ['ID_DESC'] })).toEqual(refused('after'));
    expect(await refusal(ask, { a: searchWorkflows.pageInfo.endCursor, o: ['NAME_ASC'] })).toEqual(refused('after'));
    const [mark] = JSON.parse(Buffer.from(after, 'base64').toString()) as [string];
    for (const values of [['Main', 'no uuid'], ['Main', 7], ['Main', true], ['Main']]) {
      expect(await refusal(ask, { a: encode([mark, ...values]), o: ['NAME_ASC'] }), String(values)).toEqual(refused('after'));
    }
    const nested = 'query ($a: Cursor) { currentOrganization { workflows(orderBy: NAME_ASC, after: $a) { nodes { id } } } }';
    expect(await refusal(nested, { a: encode([mark, 'Main', 'no uuid']) })).toEqual(refused('after'));
    expect(server.logged).toEqual([]);
  });

  test('nor do arguments stand together that contradict each other', async () => {
    expect(await refusal('{ workflows(first: 1, last: 1) { nodes { id } } }')).toMatchObject([{ details: { field: 'last' } }]);
    expect(await refusal('{ workflows(offset: 1, last: 1) { nodes { id } } }')).toMatchObject([{ details: { field: 'offset' } }]);
    expect(await refusal('{ workflows(first: 201) { nodes { id } } }')).toMatchObject([{ details: { field: 'first' } }]);
  });
});

describe('a list without a unique order keeps the server from starting', () => {
  test.each([
    [
      'a function',
      `create function public.unordered() returns setof public.workflows language sql stable as 'select * from public.workflows'`,
    ],
    ['a view', 'create view public.unordered with (security_invoker = true) as select name from public.workflows'],
  ])('%s', async (kind, statement) => {
    const other = await createTestDatabase();
    await other.admin.query(`${statement}; alter ${kind.slice(2)} public.unordered owner to flowgres_owner;
      ${kind === 'a view' ? 'grant select on' : 'grant execute on function'} public.unordered to flowgres_user`);
    await expect(printGraphqlSchema(other.url('flowgres_api'))).rejects.toThrow(/unordered has no unique order/);
  });
});

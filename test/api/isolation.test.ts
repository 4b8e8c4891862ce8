import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { Driver } from '../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';

let db: TestDatabase;
let acme: TestOrganization;
let globex: TestOrganization;
let server: TestServer;
let workflowId: string;
let runId: string;
let secrets: string[];
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db, 'Acme');
  globex = await createOrganization(db, 'Globex');
  // Every relation of everything is more than a request may cost, and more than a document may have.
  server = await serveGraphql(db, { maxCost: 1_000_000, tokens: { token: 20_000, anonymous: 1_000 } });
  const definition = chain(
    { id: 'start', type: 'webhookTrigger', properties: { path: '/hush', method: 'POST' } },
    { id: 'hush', type: 'log', properties: { message: 'hush' } },
  );
  workflowId = (await publishWorkflow(acme, definition, 'Hush')).id;
  const engine = new Driver(db);
  runId = (await engine.start(acme, { id: workflowId }, { body: 'hush' })).run_id!;
  await db
    .pool('flowgres_worker')
    .query('select engine.append_logs($1)', [
      JSON.stringify([{ organizationId: acme.id, runId, node: 'hush', level: 'info', message: 'hush' }]),
    ]);
  secrets = [acme.id, acme.slug, acme.webhookKey, acme.userId, workflowId, runId, 'hush', 'Hush'];
});

interface Field {
  name: string;
  type: TypeRef;
  args: { name: string; type: TypeRef }[];
}
interface TypeRef {
  kind: string;
  name: string | null;
  ofType: TypeRef | null;
}
const TYPE = 'kind name ofType { kind name ofType { kind name ofType { kind name } } }';

const named = (type: TypeRef): TypeRef => (type.ofType ? named(type.ofType) : type);
const isRequired = ({ type }: { type: TypeRef }) => type.kind === 'NON_NULL';

/** Every field of every type of the schema. */
async function readSchema(): Promise<Map<string, { kind: string; fields: Field[] | null }>> {
  const { __schema } = await server.data(
    globex.token,
    `{ __schema { types { name kind fields { name type { ${TYPE} } args { name type { ${TYPE} } } } } } }`,
  );
  return new Map(__schema.types.map((type: { name: string }) => [type.name, type]));
}

/** All scalars that a type has, and those of its connections, `depth` levels down. */
function selectAll(types: Map<string, { kind: string; fields: Field[] | null }>, typeName: string, depth: number): string {
  const parts = (types.get(typeName)?.fields ?? [])
    .filter((field) => !field.args.some(isRequired))
    .flatMap((field) => {
      const type = named(field.type);
      if (type.kind === 'SCALAR' || type.kind === 'ENUM') return [field.name];
      if (type.kind !== 'OBJECT' || depth === 0 || field.name === 'edges' || field.name === 'query') return [];
      const inner = selectAll(types, type.name!, type.name!.endsWith('Connection') ? depth : depth - 1);
      return inner ? [`${field.name} ${inner}`] : [];
    });
  return parts.length ? `{ ${parts.join(' ')} }` : '';
}

/** Values that would reach the other organization's rows, by the argument's type. */
const reaching: Record<string, () => string> = {
  UUID: () => '',
  Int: () => '1',
  String: () => JSON.stringify(acme.slug),
  JSON: () => '{}',
  ID: () => '""',
  Metric: () => 'workflows',
  TeamMetric: () => 'workflows',
};

test('no query of the schema, by any argument and relation, shows another organization’s token a thing', async () => {
  const types = await readSchema();
  const queries = types.get('Query')!.fields!.filter(({ name }) => name !== 'node');
  expect(queries.length).toBeGreaterThan(10);
  for (const field of queries) {
    const required = field.args.filter(isRequired);
    // Each id in each place; a field without arguments is asked once.
    const ids = required.some(({ type }) => named(type).name === 'UUID') ? [acme.id, acme.userId, workflowId, runId] : [''];
    for (const id of ids) {
      const value = ({ name, type }: { name: string; type: TypeRef }) => {
        if (named(type).name !== 'UUID') return reaching[named(type).name!]!();
        const known: Record<string, string> = { organizationId: acme.id, userId: acme.userId, workflowId, runId };
        return JSON.stringify(known[name] ?? id);
      };
      const args = required.length ? `(${required.map((arg) => `${arg.name}: ${value(arg)}`).join(', ')})` : '';
      const selection = selectAll(types, named(field.type).name!, 2);
      const { data, errors } = await server.query(globex.token, `{ ${field.name}${args} ${selection} }`);
      // A slug in the place of a schedule is no schedule: the refusal repeats what the caller said, and knows nothing more.
      if (errors?.every(({ extensions }) => /^(VALIDATION_FAILED|NOT_FOUND)$/.test(extensions?.['code'] ?? ''))) continue;
      expect(errors, field.name).toBeUndefined();
      const text = JSON.stringify(data);
      for (const secret of secrets) expect(text, `${field.name}${args}`).not.toContain(secret);
    }
  }
});

test('the owner sees all of it by the same kinds of query', async () => {
  const text = JSON.stringify(
    await server.data(
      acme.token,
      `query ($run: UUID!) {
        currentOrganization { id slug webhookKey members { nodes { user { id } } } workflows { nodes { id name versions { nodes { definition } } webhooks { nodes { path } } } } }
        workflowRun(id: $run) { id events { nodes { payload } } logs { nodes { message } } steps { nodes { node } } }
      }`,
      { run: runId },
    ),
  );
  for (const secret of secrets) expect(text).toContain(secret);
});

test('no filter finds another organization’s rows', async () => {
  const { workflows, workflowRuns, ofWorkflow, ofStatus, workflowRunCount, organizations, users } = await server.data(
    globex.token,
    `query ($workflow: UUID!, $run: UUID!, $organization: UUID!, $user: UUID!, $slug: String!) {
      workflows(filter: { or: [{ id: { equalTo: $workflow } }, { name: { equalTo: "Hush" } }] }) { totalCount nodes { id } }
      workflowRuns(filter: { id: { in: [$run] } }) { nodes { id } }
      ofWorkflow: workflowRuns(filter: { workflowId: { equalTo: $workflow } }) { nodes { id } }
      ofStatus: workflowRuns(filter: { status: { isNull: false } }) { nodes { id } }
      workflowRunCount(filter: { id: { in: [$run] } }) { count }
      organizations(filter: { or: [{ id: { equalTo: $organization } }, { slug: { equalTo: $slug } }] }) { totalCount nodes { id } }
      users(filter: { id: { equalTo: $user } }) { totalCount nodes { id } }
    }`,
    { workflow: workflowId, run: runId, organization: acme.id, user: acme.userId, slug: acme.slug },
  );
  for (const found of [workflowRuns, ofWorkflow, ofStatus]) expect(found).toEqual({ nodes: [] });
  expect(workflowRunCount).toEqual({ count: 0 });
  for (const found of [workflows, organizations, users]) expect(found).toEqual({ totalCount: 0, nodes: [] });
});

test('no global id opens another organization’s rows', async () => {
  const { currentOrganization, workflowRun } = await server.data(
    acme.token,
    `query ($run: UUID!) {
      currentOrganization { nodeId members { nodes { nodeId user { nodeId } } } workflows { nodes { nodeId versions { nodes { nodeId } } webhooks { nodes { nodeId } } } } }
      workflowRun(id: $run) { nodeId events { nodes { nodeId } } logs { nodes { nodeId } } }
    }`,
    { run: runId },
  );
  const ids = [...JSON.stringify([currentOrganization, workflowRun]).matchAll(/"nodeId":"([^"]+)"/g)].map((match) => match[1]!);
  expect(ids.length).toBeGreaterThanOrEqual(9);
  for (const nodeId of ids) {
    const ask = 'query ($nodeId: ID!) { node(nodeId: $nodeId) { nodeId } }';
    expect(await server.data(acme.token, ask, { nodeId })).toEqual({ node: { nodeId } });
    expect(await server.data(globex.token, ask, { nodeId })).toEqual({ node: null });
  }
});

test.each([
  ['saveWorkflow', '{ workflowId: $workflow, definition: {}, expectedRevision: 1 }'],
  ['publishWorkflow', '{ workflowId: $workflow }'],
  ['unpublishWorkflow', '{ workflowId: $workflow }'],
  ['archiveWorkflow', '{ workflowId: $workflow }'],
  ['startWorkflowRun', '{ workflowId: $workflow }'],
  ['cancelRun', '{ runId: $run }'],
  ['verifyRun', '{ runId: $run }'],
])('%s does not know another organization’s things', async (mutation, input) => {
  const parameters = input.includes('$run') ? '$run: UUID!' : '$workflow: UUID!';
  const ask = (token: string, ids: Record<string, string>) =>
    server.query(token, `mutation (${parameters}) { ${mutation}(input: ${input}) { clientMutationId } }`, ids);
  const foreign = await ask(globex.token, { workflow: workflowId, run: runId });
  const unknown = await ask(globex.token, {
    workflow: '01900000-0000-7000-8000-000000000000',
    run: '01900000-0000-7000-8000-000000000000',
  });
  expect(foreign.errors?.[0]?.extensions?.code).toBe('NOT_FOUND');
  // Not even its existence: both answers are the same.
  expect(foreign.errors).toEqual(unknown.errors);
});

test('an anonymous request reads and does nothing', async () => {
  const reads = await server.query(null, '{ workflowRuns { nodes { id } } }');
  expect(reads.errors?.[0]?.extensions?.code).toBe('UNAUTHENTICATED');
  const acts = await server.query(null, 'mutation ($id: UUID!) { startWorkflowRun(input: { workflowId: $id }) { clientMutationId } }', {
    id: workflowId,
  });
  expect(acts.errors?.[0]?.extensions?.code).toBe('UNAUTHENTICATED');
  expect(await server.data(null, '{ currentUser { id } currentOrganization { id } }')).toEqual({
    currentUser: null,
    currentOrganization: null,
  });
});

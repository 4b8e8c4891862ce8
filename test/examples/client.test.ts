import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { FlowgresClient } from '../../examples/client/client.ts';
import { listRuns, runEvents, startRun, watchRuns } from '../../examples/client/generated.ts';
import { CLIENT, generateClient } from '../../tools/reference/client.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { Driver } from '../helpers/driver.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';

let db: TestDatabase;
let acme: TestOrganization;
let server: TestServer;
let engine: Driver;
let workflow: TestWorkflow;
let client: FlowgresClient;
beforeAll(async () => {
  db = await createTestDatabase();
  [acme, server, engine] = [await createOrganization(db), await serveGraphql(db), new Driver(db)];
  const log = (id: string) => ({ id, type: 'log', properties: { message: id } });
  workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, log('a'), log('b')));
  client = new FlowgresClient(server.url, acme.token);
});

test('the generated operations are those of the schema (if not: npm run docs)', async () => {
  expect(await readFile(CLIENT, 'utf8')).toBe(await generateClient());
});

test('the client starts a run, follows it to its end and finds it in the list', async () => {
  onTestFinished(() => client.close());
  const { startWorkflowRun } = await client.request(startRun, { workflow: workflow.id, input: { n: 1 }, idempotencyKey: 'once' });
  const run = startWorkflowRun!.workflowRun.id;
  const types: string[] = [];
  for await (const { workflowRunEvents } of client.follow(runEvents, { run }, (data) => ({ after: data.workflowRunEvents!.seq }))) {
    types.push(workflowRunEvents!.type);
    if (types.length === 2) {
      await engine.finish(run, 'a', {});
      // The connection is cut in the middle of it.
      server.cut();
      await engine.complete({ runId: run, node: 'b', attempt: 1 } as Parameters<Driver['complete']>[0], {});
    }
  }
  expect(types).toEqual((await engine.log(run)).map(({ type }) => type));
  const { workflowRuns } = await client.request(listRuns, { filter: { status: { equalTo: 'success' } } });
  expect(workflowRuns!.nodes).toMatchObject([{ id: run, workflow: { id: workflow.id } }]);
});

test('the client sees the runs of a workflow as they start', async () => {
  const watching = new FlowgresClient(server.url, acme.token);
  onTestFinished(() => watching.close());
  const changes = watching.follow(watchRuns, { workflow: workflow.id }, (data) => ({ after: data.workflowRuns!.cursor }));
  const first = changes.next();
  const { run_id } = await engine.start(acme, workflow);
  expect((await first).value!.workflowRuns!.workflowRun).toMatchObject({ id: run_id, status: 'running' });
  await changes.return(undefined);
});

test('the client throws what the server says, with its code', async () => {
  await expect(client.request(startRun, { workflow: crypto.randomUUID() })).rejects.toMatchObject({
    code: 'NOT_FOUND',
    requestId: expect.stringMatching(/^[0-9a-f-]{36}$/),
  });
});

test('the example program does all of it', async () => {
  const pure = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, { id: 'end', type: 'noOp' }), 'Pure');
  const { stdout } = await promisify(execFile)(process.execPath, ['examples/client/main.ts', server.url, acme.token, pure.id, '{"n": 1}']);
  expect(stdout).toContain('4 run.succeeded {"output":{"n":1}}');
  expect(stdout).toContain('success Pure');
});

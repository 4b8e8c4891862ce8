import type { Client } from 'graphql-ws';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { Driver } from '../helpers/driver.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';

let db: TestDatabase;
let acme: TestOrganization;
let globex: TestOrganization;
let server: TestServer;
let engine: Driver;
let workflow: TestWorkflow;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  globex = await createOrganization(db, 'Globex');
  server = await serveGraphql(db);
  engine = new Driver(db);
  const log = (id: string) => ({ id, type: 'log', properties: { message: id } });
  workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, log('a'), log('b'), log('c')));
});

const WATCH = `subscription ($run: UUID!, $after: Int) { workflowRunEvents(runId: $run, after: $after) { seq type payload run { id } } }`;

interface Watch {
  /** What has arrived so far. */
  seqs: number[];
  types: string[];
  codes: (string | undefined)[];
  /** Whether the server has completed the subscription. */
  done: Promise<void>;
  stop(): void;
}

function watch(runId: string, after?: number, token = acme.token, client: Client = server.subscribe(token)): Watch {
  const seen: Omit<Watch, 'done' | 'stop'> = { seqs: [], types: [], codes: [] };
  let stop = (): void => undefined;
  const done = new Promise<void>((resolve, reject) => {
    stop = client.subscribe<{ workflowRunEvents: { seq: number; type: string } }>(
      { query: WATCH, variables: { run: runId, after } },
      {
        next({ data, errors }) {
          if (data?.workflowRunEvents) {
            seen.seqs.push(data.workflowRunEvents.seq);
            seen.types.push(data.workflowRunEvents.type);
          }
          for (const error of errors ?? []) seen.codes.push(error.extensions?.['code'] as string);
        },
        error(error) {
          if (Array.isArray(error)) {
            for (const each of error) seen.codes.push(each.extensions?.code);
            resolve();
          } else reject(error);
        },
        complete: resolve,
      },
    );
  });
  return Object.assign(seen, { done, stop });
}

const start = async () => (await engine.start(acme, workflow)).run_id!;
/** As quick as it is, this machine may be busy. */
const soon = (check: () => unknown) => vi.waitFor(check, { timeout: 20_000, interval: 50 });
const count = (length: number) => Array.from({ length }, (_, index) => index + 1);

async function finish(runId: string, nodes = ['a', 'b', 'c']): Promise<void> {
  let task = await engine.begin(runId, nodes[0]!);
  while (task) task = (await engine.complete(task, {})).next;
}

describe('workflowRunEvents', () => {
  test('sends the whole log of a finished run and completes', async () => {
    const runId = await start();
    await finish(runId);
    const seen = watch(runId);
    await seen.done;
    expect(seen.seqs).toEqual(count((await engine.log(runId)).length));
    expect(seen.types.at(-1)).toBe('run.succeeded');
  });

  test('sends first what was, then each event as it happens, once and in order', async () => {
    const runId = await start();
    const seen = watch(runId);
    await soon(() => expect(seen.seqs).toEqual([1, 2]));
    const task = await engine.begin(runId, 'a');
    await soon(() => expect(seen.seqs).toEqual([1, 2, 3]));
    await engine.complete(task!, {});
    await soon(() => expect(seen.types.slice(3)).toEqual(['step.succeeded', 'step.started']));
    await server.data(acme.token, 'mutation ($id: UUID!) { cancelRun(input: { runId: $id }) { clientMutationId } }', { id: runId });
    await seen.done;
    expect(seen.types.at(-1)).toBe('run.canceled');
    expect(seen.seqs).toEqual(count(seen.seqs.length));
  });

  test('goes on without a gap after a reconnect with the last seq', async () => {
    const runId = await start();
    const before = watch(runId);
    await soon(() => expect(before.seqs).toEqual([1, 2]));
    before.stop();
    await before.done;
    // Meanwhile, with nobody listening:
    const task = await engine.begin(runId, 'a');
    await engine.complete(task!, {});
    const after = watch(runId, before.seqs.at(-1));
    await soon(() => expect(after.seqs.at(0)).toBe(3));
    await engine.complete({ ...task!, node: 'b' }, {}).then(({ next }) => engine.complete(next!, {}));
    await after.done;
    expect([...before.seqs, ...after.seqs]).toEqual(count((await engine.log(runId)).length));
  });

  test('completes at once for a cursor at the end', async () => {
    const runId = await start();
    await finish(runId);
    const seen = watch(runId, (await engine.log(runId)).length);
    await seen.done;
    expect(seen.seqs).toEqual([]);
  });

  test('serves many subscribers of many runs on one connection', async () => {
    const client = server.subscribe(acme.token);
    const runs = await Promise.all(Array.from({ length: 10 }, start));
    const watches = runs.flatMap((runId) => [watch(runId, 0, acme.token, client), watch(runId, 1, acme.token, client)]);
    await soon(() => expect(watches.every(({ seqs }) => seqs.at(-1) === 2)).toBe(true));
    await Promise.all(runs.map((runId) => finish(runId)));
    await Promise.all(watches.map(({ done }) => done));
    const total = (await engine.log(runs[0]!)).length;
    for (const [index, { seqs }] of watches.entries()) expect(seqs).toEqual(count(total).slice(index % 2));
  });

  test('survives the loss of the server’s connections to the database', async () => {
    const runId = await start();
    const seen = watch(runId);
    await soon(() => expect(seen.seqs).toEqual([1, 2]));
    await db.admin.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and usename = 'flowgres_api'`,
    );
    await finish(runId);
    await seen.done;
    expect(seen.seqs).toEqual(count((await engine.log(runId)).length));
  });
});

describe('a run that the token may not see', () => {
  test.each([
    ['of another organization', () => start(), () => globex.token],
    ['that does not exist', async () => '01900000-0000-7000-8000-000000000000', () => acme.token],
  ])('%s is NOT_FOUND', async (_case, run, token) => {
    const seen = watch(await run(), 0, token());
    await seen.done;
    expect(seen).toMatchObject({ seqs: [], codes: ['NOT_FOUND'] });
  });

  test('ends the subscription when the token is revoked in the middle', async () => {
    const { rows } = await acme.user.query<{ secret: string; id: string }>(
      `select secret, (token).id from create_api_token('watcher', '{runs:read}')`,
    );
    const runId = await start();
    const seen = watch(runId, 0, rows[0]!.secret);
    await soon(() => expect(seen.seqs).toEqual([1, 2]));
    await acme.user.query('select revoke_api_token($1)', [rows[0]!.id]);
    await engine.begin(runId, 'a');
    await seen.done;
    expect(seen.seqs).toEqual([1, 2]);
  });
});

test('nobody is notified when nobody subscribes', async () => {
  const fresh = await createTestDatabase();
  const alone = await serveGraphql(fresh);
  const initech = await createOrganization(fresh, 'Initech');
  await alone.data(initech.token, '{ currentUser { id } }');
  expect((await fresh.admin.query('select from engine.listeners')).rowCount).toBe(0);
});

import type { Client } from 'graphql-ws';
import { beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { RunsCursor } from '../../src/graphql/runs_cursor.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { Driver } from '../helpers/driver.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';

let db: TestDatabase;
let acme: TestOrganization;
let globex: TestOrganization;
let server: TestServer;
let engine: Driver;
const publish = () =>
  publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, { id: 'note', type: 'log', properties: { message: 'x' } }));
beforeAll(async () => {
  db = await createTestDatabase();
  [acme, globex, server, engine] = [
    await createOrganization(db),
    await createOrganization(db, 'Globex'),
    await serveGraphql(db),
    new Driver(db),
  ];
});

const WATCH = `subscription ($workflow: UUID!, $after: String) {
  workflowRuns(workflowId: $workflow, after: $after) { cursor workflowRun { id status workflow { id } } }
}`;

/** As quick as it is, this machine may be busy. */
const soon = (check: () => unknown) => vi.waitFor(check, { timeout: 20_000, interval: 50 });

interface Watch {
  /** `run status` as it arrived. */
  seen: string[];
  cursors: string[];
  codes: (string | undefined)[];
  ended: boolean;
  stop(): void;
}
interface Change {
  workflowRuns: { cursor: string; workflowRun: { id: string; status: string } };
}

function watch(workflow: string, after?: string, token: string | null = acme.token, client: Client = server.subscribe(token)): Watch {
  const state: Watch = { seen: [], cursors: [], codes: [], ended: false, stop: () => undefined };
  state.stop = client.subscribe<Change>(
    { query: WATCH, variables: { workflow, after } },
    {
      next({ data, errors }) {
        if (data?.workflowRuns) {
          const { cursor, workflowRun } = data.workflowRuns;
          state.seen.push(`${workflowRun.id} ${workflowRun.status}`);
          state.cursors.push(cursor);
        }
        for (const error of errors ?? []) state.codes.push(error.extensions?.['code'] as string);
      },
      error(error) {
        if (Array.isArray(error)) for (const each of error) state.codes.push(each.extensions?.code);
        state.ended = true;
      },
      complete() {
        state.ended = true;
      },
    },
  );
  onTestFinished(() => state.stop());
  return state;
}

const start = async (workflow: TestWorkflow) => (await engine.start(acme, workflow)).run_id!;

describe('workflowRuns', () => {
  test('tells of unfinished runs, of each that starts and of each that ends; not of other workflows', async () => {
    const [workflow, other] = [await publish(), await publish()];
    const before = await start(workflow);
    const finished = await start(workflow);
    await engine.finish(finished, 'note', {});
    const watching = watch(workflow.id);
    await soon(() => expect(watching.seen).toEqual([`${before} running`]));
    const after = await start(workflow);
    await start(other);
    await soon(() => expect(watching.seen).toEqual([`${before} running`, `${after} running`]));
    await engine.finish(before, 'note', {});
    await soon(() => expect(watching.seen.slice(2)).toEqual([`${before} success`]));
    expect(watching.codes).toEqual([]);
  });

  test('loses nothing between the last cursor and a new subscription', async () => {
    const workflow = await publish();
    const ending = await start(workflow);
    const first = watch(workflow.id);
    await soon(() => expect(first.seen).toEqual([`${ending} running`]));
    first.stop();
    await engine.finish(ending, 'note', {});
    const started = await Promise.all(Array.from({ length: 120 }, () => start(workflow)));
    const second = watch(workflow.id, first.cursors.at(-1));
    await soon(() => expect(new Set(second.seen)).toEqual(new Set([`${ending} success`, ...started.map((id) => `${id} running`)])));
  });

  test('starts with nothing for a workflow without runs', async () => {
    const workflow = await publish();
    const watching = watch(workflow.id);
    const run = await start(workflow);
    await soon(() => expect(watching.seen).toEqual([`${run} running`]));
  });

  test('sees a run whose transaction commits after that of a later one', async () => {
    const workflow = await publish();
    const watching = watch(workflow.id);
    const client = await db.pool('flowgres_worker').connect();
    await client.query('begin');
    const { rows } = await client.query<{ run_id: string }>('select run_id from engine.start_runs($1)', [
      JSON.stringify([{ organizationId: acme.id, workflowId: workflow.id }]),
    ]);
    const later = await start(workflow);
    await soon(() => expect(watching.seen).toEqual([`${later} running`]));
    await client.query('commit');
    client.release();
    await soon(() => expect(watching.seen).toContain(`${rows[0]!.run_id} running`));
  });
});

describe('without a workflow', () => {
  const ALL = 'subscription ($filter: WorkflowRunFilter) { workflowRuns(filter: $filter) { cursor workflowRun { id status } } }';
  const follow = (token: string, filter: unknown) => {
    const seen: string[] = [];
    const codes: unknown[] = [];
    const stop = server.subscribe(token).subscribe<Change>(
      { query: ALL, variables: { filter } },
      {
        next({ data, errors }) {
          if (data?.workflowRuns) seen.push(`${data.workflowRuns.workflowRun.id} ${data.workflowRuns.workflowRun.status}`);
          codes.push(...(errors ?? []).map(({ extensions }) => extensions?.['code']));
        },
        error: (error) => void (Array.isArray(error) && codes.push(...error.map(({ extensions }) => extensions?.code))),
        complete: () => undefined,
      },
    );
    onTestFinished(() => stop());
    return { seen, codes };
  };

  test('tells of the runs of the whole organization, and of no other one', async () => {
    const own = await createOrganization(db, 'All');
    const publishOwn = () =>
      publishWorkflow(own, chain({ id: 'start', type: 'apiTrigger' }, { id: 'note', type: 'log', properties: { message: 'x' } }));
    const one = await publishOwn();
    const first = (await engine.start(own, one)).run_id!;
    const { seen, codes } = follow(own.token, null);
    await soon(() => expect(seen).toEqual([`${first} running`]));
    await start(await publish());
    const second = (await engine.start(own, await publishOwn())).run_id!;
    await soon(() => expect(seen).toEqual([`${first} running`, `${second} running`]));
    expect(codes).toEqual([]);
  });

  test('tells of a run when it begins to match the filter', async () => {
    const own = await createOrganization(db, 'Some');
    const workflow = await publishWorkflow(
      own,
      chain({ id: 'start', type: 'apiTrigger' }, { id: 'note', type: 'log', properties: { message: 'x' } }),
    );
    const ending = (await engine.start(own, workflow)).run_id!;
    const { seen } = follow(own.token, { status: { equalTo: 'success' } });
    const all = follow(own.token, {});
    await soon(() => expect(all.seen).toEqual([`${ending} running`]));
    await engine.finish(ending, 'note', {});
    await soon(() => expect(seen).toEqual([`${ending} success`]));
  });

  test('needs the scope, and a filter that is valid', async () => {
    const { rows } = await acme.user.query<{ secret: string }>(`select secret from create_api_token('reader', '{workflows:read}')`);
    const refused = follow(rows[0]!.secret, null);
    const wrong = follow(acme.token, { metadata: { text: '' } });
    await soon(() => expect([refused.codes, wrong.codes]).toEqual([['FORBIDDEN'], ['INVALID_ARGUMENT']]));
  });
});

describe('a subscription', () => {
  test.each([
    ['to a workflow of another organization', () => globex.token, 'NOT_FOUND'],
    ['without a token', () => null, 'UNAUTHENTICATED'],
  ])('%s is refused', async (_case, token, code) => {
    const watching = watch((await publish()).id, undefined, token());
    await soon(() => expect(watching.codes).toEqual([code]));
    expect(watching.seen).toEqual([]);
  });

  test('with a cursor that is none is refused', async () => {
    const watching = watch((await publish()).id, 'nonsense');
    await soon(() => expect(watching.codes).toEqual(['INVALID_ARGUMENT']));
  });

  test('ends within five seconds of the end of its token, also when nothing happens', async () => {
    const { rows } = await acme.user.query<{ secret: string; id: string }>(
      `select secret, (token).id from create_api_token('watcher', '{runs:read,workflows:read}')`,
    );
    const workflow = await publish();
    const run = await start(workflow);
    const watching = watch(workflow.id, undefined, rows[0]!.secret);
    await soon(() => expect(watching.seen).toEqual([`${run} running`]));
    await acme.user.query('select revoke_api_token($1)', [rows[0]!.id]);
    await soon(() => expect(watching.ended).toBe(true));
  });

  test('is one of 100 at most on a WebSocket, which is one of 20 of its token', async () => {
    const workflow = await publish();
    await start(workflow);
    const client = server.subscribe(acme.token);
    const watches = Array.from({ length: 101 }, () => watch(workflow.id, undefined, acme.token, client));
    await soon(() => expect(watches.filter(({ seen }) => seen.length === 1)).toHaveLength(100));
    expect(watches.flatMap(({ codes }) => codes)).toEqual(['LIMIT_REACHED']);
  });

  test('begins in its turn, as the reads of its organization do: many at once do not stop the others', async () => {
    const slow = await serveGraphql(db, { subscriptions: { perToken: 10, perOrganization: 10, readsPerSecond: 10 } });
    const client = slow.subscribe(acme.token);
    const ask = async () => client.iterate({ query: '{ __typename }' }).next();
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: 6 }, ask));
    // A tenth of a second's worth at once, which is one, and five 100 ms apart.
    expect(performance.now() - startedAt).toBeGreaterThan(300);
  });

  test('needs a WebSocket, of which a token has 20 at most', async () => {
    const own = await createOrganization(db, 'Sockets');
    const { id } = await publishWorkflow(
      own,
      chain({ id: 'start', type: 'apiTrigger' }, { id: 'note', type: 'log', properties: { message: 'x' } }),
    );
    await engine.start(own, { id });
    const watches = Array.from({ length: 21 }, () => watch(id, undefined, own.token));
    await soon(() => expect(watches.filter(({ seen }) => seen.length === 1)).toHaveLength(20));
    await soon(() => expect(watches.filter(({ ended }) => ended)).toHaveLength(1));
    watches.find(({ ended }) => !ended)!.stop();
    await soon(async () => {
      const another = watch(id, undefined, own.token);
      await soon(() => expect(another.ended || another.seen.length > 0).toBe(true));
      expect(another.seen).toHaveLength(1);
    });
  });
});

describe('a cursor', () => {
  const id = (time: number, n: number) => {
    const hex = (1_790_000_000_000 + time).toString(16).padStart(12, '0');
    return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-${String(n).padStart(12, '0')}`;
  };

  test('says the last run and the unfinished ones, and survives being text', () => {
    const cursor = new RunsCursor();
    expect(cursor.tell(id(0, 1), 'running')).toBe(true);
    expect(cursor.tell(id(0, 1), 'running')).toBe(false);
    expect(cursor.tell(id(1, 2), 'success')).toBe(true);
    const again = RunsCursor.parse(cursor.toString());
    expect(again.open).toEqual([id(0, 1)]);
    expect(again.floor).toBe(cursor.floor);
    expect(cursor.floor < id(0, 0)).toBe(true);
  });

  test('forgets what is finished and long past, and keeps the newest 100 unfinished', () => {
    const cursor = new RunsCursor();
    for (let n = 0; n < 1_000; n += 1) cursor.tell(id(n * 1_000, n), n % 2 ? 'success' : 'waiting');
    expect(cursor.open).toHaveLength(100);
    expect(cursor.open.at(-1)).toBe(id(998_000, 998));
    expect(cursor.recent.length).toBeLessThan(250);
    expect(Buffer.from(cursor.toString(), 'base64url')).toHaveLength(101 * 16);
  });
});

/**
 * Months of runs and events come and go while the engine starts runs and moves them on. deadlock_timeout is a tenth of
 * its default, so that a circle of waits that would only last for a moment is found as well.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { expect, test } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { createTestDatabase } from '../helpers/database.ts';
import type { Answer, Completion, Task } from '../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { freezeClock, lines } from '../helpers/partitions.ts';
import { rounds } from '../helpers/rounds.ts';

const MONTHS = rounds(3, 5);
const LOADERS = 3;
const RUNS_AT_ONCE = 4;
const READER_PAUSE_MS = 20;
const ROUNDS = 100;
/** Maintenance gives way after 200 ms, and is through in much less once it has its locks. */
const LONGEST_WAIT = '3s';

/** Calls the engine over one connection each, as processes do, and remembers what went wrong. */
class Load {
  readonly errors: string[] = [];
  readonly finished: string[] = [];
  started = 0;
  #isOver = false;

  /** Lets `turn` have turns over a connection of its own until the load is ended. */
  async go(url: string, turn: (ask: Ask) => Promise<void>): Promise<void> {
    const client = await connect(url);
    await client.query(`set lock_timeout = '${LONGEST_WAIT}'`);
    const ask: Ask = async <R extends pg.QueryResultRow>(text: string, values: unknown[] = []) =>
      (await client.query<R>(text, values)).rows;
    while (!this.#isOver) {
      await turn(ask).catch((error: pg.DatabaseError) => this.errors.push(`${error.code} ${error.message}`));
    }
    await client.end();
  }

  end(): void {
    this.#isOver = true;
  }
}
type Ask = <R extends pg.QueryResultRow>(text: string, values?: unknown[]) => Promise<R[]>;

/** One batch of runs, from the first event to the last. */
async function runThrough(load: Load, ask: Ask, organization: TestOrganization, workflowId: string): Promise<void> {
  const worker = randomUUID();
  const requests = Array.from({ length: RUNS_AT_ONCE }, () => ({ organizationId: organization.id, workflowId, input: {} }));
  const answers = await ask<Answer>('select * from engine.start_runs($1)', [JSON.stringify(requests)]);
  load.started += answers.length;
  const steps = answers.map(({ run_id }) => ({ runId: run_id, node: 'a' }));
  let tasks: Task[] = [];
  // What another session has at hand for a moment is begun the next time.
  for (let round = 1; tasks.length < steps.length; round += 1) {
    const begun = await ask<{ task: Task | null; outcome: string }>('select task, outcome from engine.begin_steps($1, $2)', [
      JSON.stringify(steps),
      worker,
    ]);
    tasks.push(...begun.flatMap(({ task }) => task ?? []));
    if (round === ROUNDS) throw new Error(`Steps are not begun: ${JSON.stringify({ begun, answers })}`);
  }
  while (tasks.length > 0) {
    const results = tasks.map(({ runId, node, attempt }) => ({ runId, node, attempt, ok: true, output: 1, ms: 1 }));
    await ask('select * from engine.heartbeat($1, $2)', [worker, JSON.stringify(tasks)]);
    const recorded = await ask<Completion & { run_id: string }>('select * from engine.complete_steps($1, $2)', [
      JSON.stringify(results),
      worker,
    ]);
    load.finished.push(...recorded.filter(({ status }) => status === 'success').map(({ run_id }) => run_id));
    tasks = recorded.flatMap(({ next }) => next ?? []);
  }
}

test.each(['drop', 'archive'])(
  'no call of the engine fails, waits for long or loses a run while months come and go (%s)',
  async (onRetire) => {
    const db = await createTestDatabase();
    await db.admin.query(`alter database ${db.name} set deadlock_timeout = '100ms'`);
    await db.admin.query(
      `update partitions.managed_tables set retention = '3 months', on_retire = $1
      where parent in ('workflow_runs'::regclass, 'workflow_events'::regclass)`,
      [onRetire],
    );
    const organization = await createOrganization(db);
    const call = (id: string) => ({ id, type: 'httpRequest', properties: { url: 'https://example.com' } });
    const { id } = await publishWorkflow(organization, chain({ id: 'start', type: 'apiTrigger' }, call('a'), call('b')));

    const load = new Load();
    const workers = Array.from({ length: LOADERS }, () =>
      load.go(db.url('flowgres_worker'), (ask) => runThrough(load, ask, organization, id)),
    );
    const others = [
      load.go(db.url('flowgres_worker'), async (ask) => {
        await ask('select from engine.wake_steps()');
      }),
      // Somebody who reads in another order than the engine.
      load.go(db.adminUrl, async (ask) => {
        await ask('begin');
        await ask('select id from workflow_events order by ts desc limit 1');
        await ask('select id from workflow_runs order by id desc limit 1');
        await ask('commit');
        await delay(READER_PAUSE_MS);
      }),
    ];

    const actions: Record<string, number> = {};
    const maintainer = await connect(db.adminUrl);
    const later: string[] = [];
    const maintain = async () => {
      for (const work of ['maintain', 'retire']) {
        const { rows } = await maintainer.query<{ action: string; done: boolean; detail: string | null }>(
          `select * from partitions.${work}() where parent in ('workflow_runs'::regclass, 'workflow_events'::regclass)`,
        );
        for (const { action, done, detail } of rows) {
          if (done) actions[action] = (actions[action] ?? 0) + 1;
          else later.push(detail ?? action);
        }
      }
    };
    const month = new Date();
    month.setUTCDate(1);
    for (let count = 0; count < MONTHS; count += 1) {
      month.setUTCMonth(month.getUTCMonth() + 1, 28);
      await freezeClock(db, month.toISOString());
      await maintain();
    }
    load.end();
    await Promise.all([...workers, ...others]);
    await maintain();
    await maintainer.end();

    expect(load.errors).toEqual([]);
    expect(load.finished).toHaveLength(load.started);
    expect(await lines(db, 'select deadlocks from pg_stat_database where datname = current_database()')).toEqual(['0']);
    // On a machine that is busy with other things, too, a lock may not be had; the next maintenance does it.
    expect(later.filter((detail) => !/lock for too long|unfinished runs/.test(detail))).toEqual([]);
    expect(actions).toEqual({ create: 2 * MONTHS, [onRetire]: 2 * (MONTHS - 1) });
  },
  120_000,
);

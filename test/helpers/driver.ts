/** Calls the engine as a worker does, one SQL call at a time, so that a test controls the order of events. */
import { randomUUID } from 'node:crypto';
import type { TestDatabase } from './database.ts';
import type { TestOrganization } from './factory.ts';

/** The answer to a start. */
export interface Answer {
  run_id: string | null;
  status: string | null;
  output: unknown;
  response: unknown;
  error: { code: string; message: string; node?: string } | null;
  duplicate: boolean;
  claimed: string | null;
}

/** What a worker gets for a step. */
export interface Task {
  runId: string;
  node: string;
  attempt: number;
  isolated: boolean;
  properties: Record<string, unknown>;
  idempotencyKey: string;
  input: unknown;
  timeoutMs: number;
}

/** An event of the log. */
export interface LoggedEvent {
  seq: number;
  type: string;
  payload: Record<string, unknown>;
}

/** Calls the engine with the roles of production: starts as the intake, steps as the worker. */
export class Driver {
  readonly worker = randomUUID();
  private readonly db: TestDatabase;
  /** Tasks that goOn has begun. */
  private readonly begun = new Map<string, Task>();

  constructor(db: TestDatabase) {
    this.db = db;
  }

  /** Starts a batch. Resolves to the answers in the order of the requests. */
  async startAll(requests: Record<string, unknown>[]): Promise<Answer[]> {
    const { rows } = await this.db
      .pool('flowgres_intake')
      .query<Answer>('select * from engine.start_runs($1) order by index', [JSON.stringify(requests)]);
    return rows;
  }

  async start(
    organization: TestOrganization,
    workflow: { id: string },
    input: unknown = {},
    more: Record<string, unknown> = {},
  ): Promise<Answer> {
    const answers = await this.startAll([{ organizationId: organization.id, workflowId: workflow.id, input, ...more }]);
    return answers[0]!;
  }

  /** Takes the job of a step. Resolves to null when there is nothing to do. */
  async begin(runId: string | null, node: string): Promise<Task | null> {
    const { rows } = await this.asWorker<{ task: Task | null }>('select * from engine.begin_steps($1, $2)', [[{ runId, node }]]);
    return rows[0]!.task;
  }

  async complete(task: Task, output: unknown, port?: string): Promise<Completion> {
    return this.report({ ...resultOf(task), ok: true, output, ...(port ? { port } : {}) });
  }

  async fail(task: Task, error: Record<string, unknown>): Promise<Completion> {
    return this.report({ ...resultOf(task), ok: false, error });
  }

  /** Begins a step and completes it at once. */
  async finish(runId: string | null, node: string, output: unknown): Promise<Completion> {
    const task = await this.begin(runId, node);
    if (!task) throw new Error(`step ${node} has nothing to do`);
    return this.complete(task, output);
  }

  /** Evaluates an isolated step as a worker does, and records the result. */
  async evaluate(task: Task): Promise<Completion> {
    const { rows } = await this.db
      .pool('flowgres_worker')
      .query<{ outcome: Record<string, unknown> }>('select engine.evaluate_step($1, $2) as outcome', [task.runId, task.node]);
    const { outcome } = rows[0]!;
    return this.report({ ...resultOf(task), ok: !('error' in outcome), ...outcome });
  }

  /** Begins an isolated step. */
  async beginIsolated(runId: string | null, node: string): Promise<Task> {
    await this.goOn(runId);
    const task = this.begun.get(`${runId}/${node}`) ?? (await this.begin(runId, node));
    if (!task?.isolated) throw new Error(`step ${node} is not isolated`);
    return task;
  }

  /** Begins an isolated step and evaluates it. Resolves to the task of the step itself when it is not pure. */
  async isolate(runId: string | null, node: string): Promise<Task | null> {
    const task = await this.beginIsolated(runId, node);
    const { next } = await this.evaluate(task);
    if (!next) await this.goOn(runId);
    return next;
  }

  /**
   * Continues a run whose transactions exceeded their time, as on slow machines, until only steps for workers
   * are open.
   */
  async goOn(runId: string | null): Promise<void> {
    for (let turn = 0; turn < 100; turn += 1) {
      const { rows } = await this.db.admin.query<{ node: string }>(
        `select s.node from engine.open_steps as s
         join workflow_runs as r on r.id = s.run_id
         join engine.compiled_versions as p on p.workflow_id = r.workflow_id and p.version = r.version
         where s.run_id = $1 and s.state = 'queued' and not s.is_isolated
           and (p.nodes[array_position(p.ids, s.node)]).kind not in ('effect', 'local')`,
        [runId],
      );
      if (!rows[0]) return;
      const task = await this.begin(runId, rows[0].node);
      if (task) this.begun.set(`${runId}/${task.node}`, task);
    }
    throw new Error('the run does not get on');
  }

  /** Resolves to the events that a replay of the run computes differently. */
  async verify(runId: string | null): Promise<unknown[]> {
    return (await this.db.admin.query('select * from engine.verify_run($1)', [runId])).rows;
  }

  async report(result: Record<string, unknown>): Promise<Completion> {
    const { rows } = await this.asWorker<Completion>('select * from engine.complete_steps($1, $2)', [[result]]);
    return rows[0]!;
  }

  async reconcile(): Promise<{ action: string; run_id: string; node: string | null }[]> {
    return (await this.db.pool('flowgres_worker').query('select * from engine.reconcile()')).rows;
  }

  /** Adds jobs for the steps whose time has come, as workers do every second. */
  async wake(): Promise<{ run_id: string; node: string }[]> {
    return (await this.db.pool('flowgres_worker').query('select * from engine.wake_steps()')).rows;
  }

  /** Returns the jobs for a run: the node of each, or `cancel_children`. */
  async jobs(runId: string | null): Promise<string[]> {
    const { rows } = await this.db.admin.query<{ node: string }>(
      `select coalesce(j.payload ->> 'node', t.identifier) as node
       from graphile_worker._private_jobs as j join graphile_worker._private_tasks as t on t.id = j.task_id
       where j.payload ->> 'runId' = $1 order by 1`,
      [runId],
    );
    return rows.map(({ node }) => node);
  }

  async run(runId: string | null): Promise<{ status: string; error: { code: string; message: string } | null; finished_at: Date | null }> {
    return (await this.db.admin.query('select * from workflow_runs where id = $1', [runId])).rows[0];
  }

  /** Returns the output in the last event of the run. */
  async output(runId: string | null): Promise<unknown> {
    const { rows } = await this.db.admin.query(
      `select engine.output_of_event(payload, run_id, ts) as output from workflow_events where run_id = $1 order by seq desc limit 1`,
      [runId],
    );
    return rows[0]?.output;
  }

  async log(runId: string | null): Promise<LoggedEvent[]> {
    return (
      await this.db.admin.query<LoggedEvent>('select seq, type, payload from workflow_events where run_id = $1 order by seq', [runId])
    ).rows;
  }

  /** Returns the types and nodes of the log: `run.created`, `step.succeeded a`, … */
  async story(runId: string | null): Promise<string[]> {
    return (await this.log(runId)).map(({ type, payload }) => (type.startsWith('step.') ? `${type} ${payload['node']}` : type));
  }

  async openSteps(runId: string | null): Promise<{ node: string; state: string; attempt: number; run_at: Date }[]> {
    return (await this.db.admin.query('select * from engine.open_steps where run_id = $1 order by node', [runId])).rows;
  }

  /**
   * Executes the jobs of held runs that are due by `at`, and those that result from them. Resolves to their
   * number. The queue uses the real clock: a job without a time was due when it was added.
   */
  async release(at = new Date()): Promise<number> {
    for (let count = 0; ; count += 1) {
      const { rows } = await this.db.admin.query<{ payload: { workflowId: string; by: string; key: string } }>(
        `delete from graphile_worker._private_jobs where id = (
           select j.id from graphile_worker._private_jobs as j
           join graphile_worker._private_tasks as t on t.id = j.task_id
           where t.identifier = 'release_runs' and (j.run_at <= $1 or j.run_at = j.created_at) order by j.run_at, j.id limit 1
         ) returning payload`,
        [at],
      );
      if (!rows[0]) return count;
      const { workflowId, by, key } = rows[0].payload;
      await this.db.pool('flowgres_worker').query('select engine.release_runs($1, $2, $3)', [workflowId, by, key]);
    }
  }

  /** Fires each due schedule once, as a worker does. Resolves to how many started or skipped a tick. */
  async fireSchedules(): Promise<number> {
    const worker = this.db.pool('flowgres_worker');
    const { rows } = await worker.query<{ organization_id: string; workflow_id: string; node: string }>(
      'select * from engine.due_schedules()',
    );
    let count = 0;
    for (const { organization_id, workflow_id, node } of rows) {
      const { rows: fired } = await worker.query('select where engine.fire_schedule($1, $2, $3)', [organization_id, workflow_id, node]);
      count += fired.length;
    }
    return count;
  }

  /** Stops the engine's clock at a time, and creates its partitions as maintenance would; null lets it run again. */
  async freeze(at: Date | null): Promise<void> {
    await this.db.admin.query('delete from private.test_mode');
    if (!at) return;
    await this.db.admin.query('insert into private.test_mode (frozen_at) values ($1)', [at]);
    await this.db.admin.query('select partitions.maintain()');
  }

  /**
   * Ends what earlier tests have left, empties the queue, forgets the workers and lets the clock go on, so that the
   * tests of a file can share a database.
   */
  async startOver(): Promise<void> {
    const { admin } = this.db;
    await admin.query(`select from engine.end_runs(array(select id from workflow_runs where finished_at is null), 'run.canceled', '{}')`);
    await admin.query('delete from graphile_worker._private_jobs; delete from engine.workers; delete from private.test_mode');
  }

  private asWorker<R extends object>(text: string, [batch]: [unknown]) {
    return this.db.pool('flowgres_worker').query<R>(text, [JSON.stringify(batch), this.worker]);
  }
}

/** The answer to a result. */
export interface Completion {
  outcome: 'recorded' | 'stale';
  status: string | null;
  next: Task | null;
}

function resultOf(task: Task) {
  return { runId: task.runId, node: task.node, attempt: task.attempt, ms: 1 };
}

/**
 * Executes steps: begins an attempt, executes the node, records the result, and continues with the next step of
 * the branch.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { LIMITS } from '../constants.ts';
import { FairShare, type Release } from '../limits/fair_share.ts';
import { attemptLog } from './attempt_log.ts';
import type { Slot } from './slots.ts';
import type { AttemptRef, CompleteAnswer, Engine, StepRef, StepResult, StepTask } from '../engine/engine.ts';
import type { LocalSteps } from '../engine/local.ts';
import { FlowgresError } from '../errors.ts';
import { stepSeconds, steps } from '../metrics.ts';
import { executeNode } from '../nodes/registry.ts';
import { type EffectContext, type NodeConfig, NodeError, describeFailure } from '../nodes/types.ts';
import { Redactor } from '../vault/redact.ts';
import type { StepCredentials } from './step_credentials.ts';

/** The longest delay of setTimeout, 24 days. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** Local nodes of all organizations that run at a time; the pool has a few more connections, for expressions. */
const LOCAL_NODES = LIMITS.worker.localNodes;
/** Bytes of large answers that a process holds at a time: what attempts read, until their results are recorded. */
const ANSWER_BYTES = LIMITS.worker.maxAnswerBytes;
const RETRY_DELAY_MS = { first: 100, longest: 2_000 };

/** Abort reason: the run has ended or another worker has the step, so the result would be refused. */
const POINTLESS = Symbol('pointless');
/** Abort reason: this process stops before the attempt has finished. */
const HANDED_BACK = Symbol('handed back');

/** The result of a step that did not fail; of a local one the answer to it, because it was recorded with its work. */
type Done = { port?: string; output: unknown } | { properties: unknown } | { answer: CompleteAnswer };

interface RunningAttempt {
  ref: AttemptRef;
  controller: AbortController;
  /** The work is done and its result is being recorded, so the step must not be released. */
  isDone: boolean;
}

/** The attempts in progress in this process. */
export class Attempts {
  readonly #engine: Engine;
  readonly #local: LocalSteps;
  readonly #config: NodeConfig;
  readonly #credentials: StepCredentials;
  readonly #onProblem: (message: string, error: unknown) => void;
  readonly #running = new Map<string, RunningAttempt>();
  readonly #branches = new Set<Promise<void>>();
  readonly #localNodes = new FairShare(LOCAL_NODES);
  readonly #answerBytes = new FairShare(ANSWER_BYTES);
  readonly #stopped = new AbortController();
  #stopping = false;

  constructor(
    engine: Engine,
    local: LocalSteps,
    config: NodeConfig,
    credentials: StepCredentials,
    onProblem: (message: string, error: unknown) => void,
  ) {
    this.#engine = engine;
    this.#local = local;
    this.#config = config;
    this.#credentials = credentials;
    this.#onProblem = onProblem;
  }

  /** The attempts in progress, for the heartbeat. */
  running(): AttemptRef[] {
    return [...this.#running.values()].map(({ ref }) => ref);
  }

  /** Aborts these attempts; a later attempt of the same step continues. */
  abort(refs: AttemptRef[]): void {
    for (const ref of refs) {
      const running = this.#running.get(keyOf(ref));
      if (running?.ref.attempt === ref.attempt) running.controller.abort(POINTLESS);
    }
  }

  /** Begins no further step; attempts in progress continue. */
  beginStopping(): void {
    this.#stopping = true;
  }

  /** Aborts the attempts in progress and returns their steps to the queue. */
  async handBack(): Promise<void> {
    this.beginStopping();
    const unfinished = [...this.#running.values()].filter(({ isDone }) => !isDone);
    for (const { controller } of unfinished) controller.abort(HANDED_BACK);
    this.#stopped.abort();
    if (unfinished.length) await this.#engine.releaseSteps(unfinished.map(({ ref }) => ref));
  }

  /**
   * Begins a queued step. Resolves once it has begun, or when there is nothing to do. The step, and the
   * following ones that need no job, then run on in the background and hold `slot` until the branch ends.
   * Failures of a step are recorded in its run.
   */
  async start(step: StepRef, slot: Slot): Promise<void> {
    let task: StepTask | null = null;
    try {
      task = await this.#begin(step);
    } finally {
      if (!task) slot.release();
    }
    if (!task) return;
    const branch: Promise<void> = this.#follow(task)
      .catch((error: unknown) => {
        // The database was out of reach until this process stopped. The reconciler of another process requeues
        // the step.
        if (!this.#stopping) this.#onProblem('A step was not executed.', error);
      })
      .finally(() => {
        this.#branches.delete(branch);
        slot.release();
      });
    this.#branches.add(branch);
  }

  /** For a step without a slot here: does what needs none, and defers the rest until a slot of any worker is free. */
  async defer(step: StepRef): Promise<void> {
    await this.#untilAnswered(step, () => this.#engine.deferStep(step));
  }

  /** Begins a step and returns it to the queue at once, for another worker. */
  async returnStep(step: StepRef): Promise<void> {
    const task = await this.#begin(step);
    if (task) await this.#release(task);
  }

  /** Resolves once no branch is in progress. */
  async ended(): Promise<void> {
    while (this.#branches.size) await Promise.all(this.#branches);
  }

  async #follow(first: StepTask): Promise<void> {
    for (let task: StepTask | null = first; task; ) {
      if (this.#stopping) return this.#release(task);
      task = await this.#execute(task);
    }
  }

  /** Executes one attempt and records its result. Resolves to the next step of the branch. */
  async #execute(task: StepTask): Promise<StepTask | null> {
    const running = this.#enter(task);
    const held: Release[] = [];
    try {
      const result = await this.#attempt(task, running, held);
      running.isDone = true;
      if (!result) return null;
      return 'answer' in result ? result.answer.next : await this.#complete(result);
    } finally {
      for (const release of held) release();
      if (this.#running.get(keyOf(running.ref)) === running) this.#running.delete(keyOf(running.ref));
    }
  }

  #enter(task: StepTask): RunningAttempt {
    const { runId, node, attempt } = task;
    const running = { ref: { runId, node, attempt }, controller: new AbortController(), isDone: false };
    this.#running.set(keyOf(running.ref), running);
    return running;
  }

  async #begin(step: StepRef): Promise<StepTask | null> {
    const answer = await this.#untilAnswered(step, () => this.#engine.beginStep(step));
    return answer?.task ?? null;
  }

  async #complete(result: StepResult): Promise<StepTask | null> {
    const answer = await this.#untilAnswered(result, () => this.#record(result));
    return answer?.next ?? null;
  }

  /**
   * Records a result. An output that the database refuses becomes a failure of the step, to which its onError
   * applies.
   */
  async #record(result: StepResult): ReturnType<Engine['completeStep']> {
    try {
      return await this.#engine.completeStep(result);
    } catch (error) {
      if (!result.ok || !(error instanceof FlowgresError) || error.code !== 'REFUSED') throw error;
      const { runId, node, attempt, ms } = result;
      this.#onProblem(`Run ${runId}: the output of ${node} was refused. ${error.message}`, error.cause);
      const { code, message } = error;
      return this.#engine.completeStep({ runId, node, attempt, ms, ok: false, error: { code, message, retryable: false } });
    }
  }

  async #release({ runId, node, attempt }: StepTask): Promise<void> {
    await this.#engine.releaseSteps([{ runId, node, attempt }]);
  }

  /** Executes one attempt. Resolves to its result; null when the attempt was aborted and has none to record. */
  async #attempt(task: StepTask, running: RunningAttempt, held: Release[]): Promise<StepResult | { answer: CompleteAnswer } | null> {
    const { runId, node, attempt, type, timeoutMs } = task;
    const { controller } = running;
    let timeout: NodeJS.Timeout | undefined;
    let startedAt = performance.now();
    const redactor = new Redactor();
    const described = (outcome: string) => {
      const ms = Math.round(performance.now() - startedAt);
      steps.inc({ type, outcome });
      stepSeconds.observe({ type }, ms / 1_000);
      return { runId, node, attempt, ms };
    };
    try {
      // The timeout starts when the step has its connection, for which it may have to wait.
      if (task.kind === 'local') held.push(await this.#localNodes.acquire(task.organizationId, 1, controller.signal));
      timeout = setTimeout(() => controller.abort(timedOut(timeoutMs)), Math.min(timeoutMs, LONGEST_TIMER_MS));
      startedAt = performance.now();
      const outcome = await unlessAborted(this.#executeNode(task, running, held, redactor), running);
      if (!outcome) return null;
      const done = described('answer' in outcome && outcome.answer.outcome === 'stale' ? 'aborted' : 'succeeded');
      return 'answer' in outcome ? outcome : { ...done, ok: true, ...outcome };
    } catch (error) {
      const reason: unknown = controller.signal.aborted ? controller.signal.reason : error;
      if (reason === POINTLESS || reason === HANDED_BACK) {
        described('aborted');
        return null;
      }
      return { ...described('failed'), ok: false, error: redactor.value(describeFailure(reason, (text) => redactor.text(text))) };
    } finally {
      clearTimeout(timeout);
    }
  }

  async #executeNode(task: StepTask, running: RunningAttempt, held: Release[], redactor: Redactor): Promise<Done | null> {
    if (task.kind === 'local') return this.#executeLocal(task, running);
    const { signal } = running.controller;
    const { organizationId, runId, node } = task;
    const credentials = task.credentials ? await this.#patiently(() => this.#credentials.open(task, redactor)) : {};
    const { properties, variables } = await this.#patiently(() => this.#credentials.join(task, redactor));
    const log: EffectContext<unknown>['log'] = (level, message, context) =>
      this.#engine.appendLog({
        organizationId,
        runId,
        node,
        level,
        message: redactor.text(message),
        ...(context === undefined ? {} : { context: redactor.value(context) }),
      });
    const { port, output } = await executeNode(task.type, {
      organizationId,
      properties,
      input: task.input,
      signal,
      idempotencyKey: task.idempotencyKey,
      credentials,
      variables,
      config: this.#config,
      redact: (text) => redactor.text(text),
      reserve: async (bytes) => void held.push(await this.#answerBytes.acquire(organizationId, bytes, signal)),
      log: attemptLog(log),
    });
    return { ...(port === undefined ? {} : { port }), output: redactor.value(output) };
  }

  async #executeLocal(task: StepTask, running: RunningAttempt): Promise<Done | null> {
    const { signal } = running.controller;
    const startedAt = performance.now();
    const progress = {
      done: () => {
        signal.throwIfAborted();
        running.isDone = true;
        return Math.round(performance.now() - startedAt);
      },
      undone: () => {
        running.isDone = false;
      },
    };
    const outcome = await this.#patiently(async () => {
      signal.throwIfAborted();
      return task.isolated ? await this.#local.evaluate(task) : await this.#local.run(task, progress);
    });
    if (!outcome || !('error' in outcome)) return outcome;
    const { code, message, ...rest } = outcome.error;
    throw new NodeError(code, message, rest);
  }

  /**
   * Repeats a call until the database answers. A refused request or an unreadable answer fails the run, since
   * no worker could continue it.
   */
  async #untilAnswered<Answer>({ runId, node }: StepRef, call: () => Promise<Answer>): Promise<Answer | null> {
    try {
      return await this.#patiently(call);
    } catch (error) {
      if (!(error instanceof FlowgresError)) throw error;
      this.#onProblem(`Run ${runId} is ended at ${node} by ${error.code}: ${error.message}`, error.cause);
      await this.#patiently(() => this.#engine.failRun(runId, error.code, error.message));
      return null;
    }
  }

  /** Repeats a call while the database is out of reach; no other worker can take the step over meanwhile. */
  async #patiently<Answer>(call: () => Promise<Answer>): Promise<Answer> {
    for (let wait = RETRY_DELAY_MS.first; ; wait = Math.min(wait * 2, RETRY_DELAY_MS.longest)) {
      try {
        return await call();
      } catch (error) {
        if (!(error instanceof FlowgresError) || error.code !== 'UNAVAILABLE') throw error;
        await delay(wait * (0.5 + Math.random()), undefined, { signal: this.#stopped.signal });
      }
    }
  }
}

function keyOf({ runId, node }: StepRef): string {
  return `${runId}/${node}`;
}

function timedOut(timeoutMs: number): NodeError {
  return new NodeError('TIMEOUT', `The attempt took longer than ${timeoutMs} ms.`, { retryable: true });
}

/**
 * Resolves to the result of `work`; rejects with the signal's reason as soon as it aborts, even if the node
 * ignores the signal. Once the result is being recorded an abort comes too late.
 */
async function unlessAborted<T>(work: Promise<T>, running: RunningAttempt): Promise<T> {
  work.catch(() => undefined);
  const { signal } = running.controller;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => {
    if (!running.isDone) reject(signal.reason);
  };
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

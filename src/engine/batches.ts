/** Sends batches of requests, and finds the requests of a failed batch that cannot be handled. */
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import type { BatchRequest } from './coalesce.ts';
import { type Failure, classifyFailure, isLasting, mayRepeat, refused, unavailable, unreadable } from './errors.ts';
import { SharedSlots } from './slots.ts';
import type { Statements } from './statements.ts';

/** A batch is not sent again after this time, since its callers have time limits of their own. */
const RETRY_FOR_MS = 2_000;
const RETRIES = 5;
const RETRY_DELAY_MS = 20;

/** A SQL function that handles a batch. */
export interface BatchCall<Row> {
  /** The statement, with the batch as its first parameter; prepared under `name`. */
  text: string;
  name: string;
  values: unknown[];
  row: z.ZodType<Row>;
  /** Whether the call may be repeated when it is unknown whether the first one was committed. */
  idempotent: boolean;
}

/** The fields of a request that name the version it runs. */
const quarantineShape = z.looseObject({
  organizationId: z.string().optional(),
  workflowId: z.string().optional(),
  version: z.number().optional(),
  runId: z.string().optional(),
});

/** The batches of one process. */
export class Batches {
  readonly #statements: Statements;
  /** Repeats requests of a batch that took too long, each alone, one of each owner at a time. */
  readonly #alone = new SharedSlots(1);

  constructor(statements: Statements) {
    this.#statements = statements;
  }

  /**
   * Sends one batch, again after a temporary failure. Splits a batch that fails until each request that cannot
   * be handled is alone.
   */
  async send<Row extends { index: number }>(
    call: BatchCall<Row>,
    requests: BatchRequest[],
  ): Promise<(PromiseSettledResult<Row> | Promise<Row>)[]> {
    const startedAt = performance.now();
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#answers(call, requests);
      } catch (error) {
        const failure = classifyFailure(error);
        const patient = attempt < RETRIES && performance.now() - startedAt < RETRY_FOR_MS;
        if (patient && (mayRepeat(failure, call.idempotent) || (await this.#statements.isMended(failure)))) {
          await delay(RETRY_DELAY_MS * 2 ** attempt * (0.5 + Math.random()));
        } else if (!isLasting(failure)) {
          return requests.map(() => ({ status: 'rejected', reason: unavailable(failure) }));
        } else if (requests.length > 1 && failure.kind === 'timed_out') {
          return requests.map((request) => this.#repeatAlone(call, request));
        } else if (requests.length > 1) {
          return (await Promise.all(requests.map((request) => this.send(call, [request])))).flat();
        } else if (failure.kind === 'timed_out' ? !(await this.#quarantine(requests[0]!)) : isFinal(failure, attempt)) {
          return [{ status: 'rejected', reason: refused(failure) }];
        }
      }
    }
  }

  /** Repeats a request alone after its batch took too long, possibly because of another request. */
  async #repeatAlone<Row extends { index: number }>(call: BatchCall<Row>, request: BatchRequest): Promise<Row> {
    const [result] = await this.#alone.use(request.owner, () => this.send(call, [request]));
    if (result instanceof Promise || result === undefined) return result ?? Promise.reject(new Error('No answer.'));
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  }

  /**
   * Quarantines the request's version, so that it is evaluated in local steps. Resolves to whether it was not
   * quarantined before: then the request may succeed now.
   */
  async #quarantine(request: BatchRequest): Promise<boolean> {
    try {
      const { organizationId, workflowId, version, runId } = quarantineShape.parse(JSON.parse(request.text));
      const key = runId === undefined ? { organizationId, workflowId, version } : { runId };
      const { rows } = await this.#statements.query('quarantine', 'select engine.quarantine($1::jsonb) as is_new', [JSON.stringify(key)]);
      return rows[0]?.['is_new'] === true;
    } catch {
      return false;
    }
  }

  async #answers<Row extends { index: number }>(call: BatchCall<Row>, requests: BatchRequest[]): Promise<PromiseSettledResult<Row>[]> {
    const { rows } = await this.#statements.query(call.name, call.text, [batchOf(requests), ...call.values]);
    const answers: PromiseSettledResult<Row>[] = [];
    for (const row of rows) {
      const answer = call.row.safeParse(row);
      answers[Number(row['index'])] = answer.success
        ? { status: 'fulfilled', value: answer.data }
        : { status: 'rejected', reason: unreadable(call.name, answer.error) };
    }
    return answers;
  }
}

/** A batch as the JSON array that SQL functions take. */
export function batchOf(requests: BatchRequest[]): string {
  return `[${requests.map(({ text }) => text).join(',')}]`;
}

/** Whether a request that was sent alone has failed permanently. */
function isFinal(failure: Failure, attempt: number): boolean {
  return attempt >= 2 || (failure.sqlstate?.startsWith('WF') ?? false);
}

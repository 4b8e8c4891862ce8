/**
 * The log of a process, one line for each event that an operator should know. `serve`, `work` and `maintain`
 * write JSON for log collectors; other commands write text. Normal events go to standard output, problems to
 * standard error.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { format } from 'node:util';
import pg from 'pg';
import { type Logger, destination, pino, stdTimeFunctions } from 'pino';
import { FlowgresError, reasonOf } from './errors.ts';

/** Named facts of a line. An `error` is written as its name, code and message. */
export type Facts = Record<string, unknown>;
type Level = 'info' | 'warn' | 'error' | 'fatal';

const requestIds = new AsyncLocalStorage<string>();
/** Undefined while the log is text. */
let loggers: { out: Logger; err: Logger } | undefined;

/** Writes lines of each level: a message and facts. */
export const log = {
  info: (message: string, facts: Facts = {}) => write('info', message, facts),
  warn: (message: string, facts: Facts = {}) => write('warn', message, facts),
  error: (message: string, facts: Facts = {}) => write('error', message, facts),
  fatal: (message: string, facts: Facts = {}) => write('fatal', message, facts),
};

/** Calls `work`. All lines written meanwhile, also by asynchronous work that it starts, contain the request id. */
export function withRequestId<T>(id: string, work: () => T): T {
  return requestIds.run(id, work);
}

/** Switches the log to JSON for the rest of the process, including lines of libraries and of Node. */
export function logJson(command: string): void {
  const options = {
    base: { command, pid: process.pid },
    timestamp: stdTimeFunctions.isoTime,
    messageKey: 'message',
    formatters: { level: (level: string) => ({ level }) },
    mixin: () => (requestIds.getStore() === undefined ? {} : { requestId: requestIds.getStore() }),
  };
  // Synchronous, so that the last line of a process that ends is written.
  loggers = {
    out: pino(options, destination({ dest: 1, sync: true })),
    err: pino(options, destination({ dest: 2, sync: true })),
  };
  for (const name of ['log', 'info', 'debug'] as const) console[name] = (...parts: unknown[]) => log.info(format(...parts));
  console.warn = (...parts: unknown[]) => log.warn(format(...parts));
  console.error = (...parts: unknown[]) => log.error(format(...parts));
  process.removeAllListeners('warning').on('warning', (warning) => log.warn(warning.message, { warning: warning.name }));
  process.on('uncaughtException', (error) => {
    log.fatal('The process ends: an error was not caught.', { error });
    process.exit(1);
  });
}

function write(level: Level, message: string, facts: Facts): void {
  const { error, ...others } = facts;
  if (loggers) {
    const logger = level === 'info' ? loggers.out : loggers.err;
    logger[level]({ ...others, ...(error === undefined ? {} : { error: describe(error) }) }, message);
  } else if (level === 'info') console.log(message);
  else {
    const cause = error === undefined ? '' : ` ${messageOf(error)}`;
    const rest = Object.keys(others).length === 0 ? '' : ` ${JSON.stringify(others)}`;
    console.error(`${new Date().toISOString()} ${message}${cause}${rest}`);
  }
}

/**
 * Describes an error without the detail of a database error, which may hold a row. Unexpected errors include
 * their stack.
 */
function describe(error: unknown): Facts {
  const root = rootCause(error);
  if (!(root instanceof Error)) return { message: String(root) };
  const { code } = root as { code?: unknown };
  const isForeseen = root instanceof FlowgresError || root instanceof pg.DatabaseError || code !== undefined;
  return {
    name: root.name,
    message: messageOf(root),
    ...(code === undefined ? {} : { code }),
    ...(isForeseen ? {} : { stack: root.stack }),
  };
}

function messageOf(error: unknown): string {
  const root = rootCause(error);
  return reasonOf(root) || (root instanceof Error ? root.name : '');
}

function rootCause(error: unknown): unknown {
  return error instanceof Error && error.cause instanceof Error ? rootCause(error.cause) : error;
}

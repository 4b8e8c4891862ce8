/**
 * Decides what a client learns of a failure. Errors of SQLSTATE class WF say what happened and what to do; a
 * few PostgreSQL errors get a fixed text; all others are masked. The log contains what the client does not see,
 * under the id that the client gets.
 */
import { randomBytes } from 'node:crypto';
import { SafeError } from 'postgraphile/grafast';
import { type ASTNode, GraphQLError } from 'postgraphile/graphql';
import { z } from 'zod';
import { FlowgresError } from '../errors.ts';
import type { LogError } from '../http/errors.ts';
import { cursorError } from './paging.ts';

/** The fields of an error as PostgreSQL sends it. */
const databaseFields = z.object({
  code: z.string().length(5),
  severity: z.string(),
  message: z.string(),
  detail: z.string().optional(),
  hint: z.string().optional(),
  where: z.string().optional(),
  constraint: z.string().optional(),
});
type DatabaseError = z.infer<typeof databaseFields>;

const knownDetail = z.looseObject({ code: z.string() });

const INTERNAL = 'Something went wrong here.';

const KNOWN: Record<string, { code: string; message: string; hint?: string }> = {
  '42501': { code: 'FORBIDDEN', message: 'The request may not do this.', hint: 'Send a token that may: "Authorization: Bearer <token>".' },
  '23505': { code: 'CONFLICT', message: 'There is such a thing already.' },
  '23503': { code: 'CONFLICT', message: 'Something else depends on this, or what it refers to does not exist.' },
  '57014': { code: 'TIMEOUT', message: 'The request took too long and was stopped. Ask for less.' },
  '55P03': { code: 'TIMEOUT', message: 'Somebody else holds what this request needs. Try again.' },
  '40P01': { code: 'CONFLICT', message: 'Two requests were in each other’s way. Try again.' },
  '22P02': { code: 'INVALID_ARGUMENT', message: 'A value does not have the form that its type requires.' },
  '22004': { code: 'INVALID_ARGUMENT', message: 'A required value is null.' },
  '22P05': { code: 'INVALID_ARGUMENT', message: 'A text has a character that PostgreSQL cannot store, such as \\u0000.' },
};

/** The filter plugin throws a plain error for the one mistake that the schema does not exclude. */
const FILTER_ERROR = /^(?:Null literals|Empty objects) are forbidden in filter argument input/;

/** A cursor of another list, or of the same list in another order. */
const FOREIGN_CURSOR = /^Invalid '(before|after)' cursor/;

/**
 * SQLSTATEs of values that PostgreSQL could not read. Arguments were checked before, so the value is from a
 * forged cursor.
 */
const UNREADABLE = new Set(['22P02', '22003', '22007', '22008']);

/** GraphQL's messages about an invalid variable, with its name and the place in it. */
const VARIABLE = /^Variable "\$(\w+)" (?:got invalid value .*(?: at "([^"]+)")|got invalid value |of )/s;

/** Codes for all other errors of a class. They are logged, since they may be faults of Flowgres. */
const KNOWN_CLASSES: Record<string, { code: string; message: string }> = {
  '22': { code: 'INVALID_ARGUMENT', message: 'A value is impossible, or out of the range of its type.' },
  '53': { code: 'UNAVAILABLE', message: 'The database has no room for this request. Try again in a moment.' },
  '57': { code: 'UNAVAILABLE', message: 'The database is not available. Try again in a moment.' },
  '54': { code: 'TOO_LARGE', message: 'A value is too large, or nested too deeply.' },
};

/** Logs an entry and returns its error id. */
type Logged = (entry: { message: string; [key: string]: unknown }) => string;

/** Returns the function for `grafserv.maskError`. */
export function errorMask(log: LogError): (error: GraphQLError) => GraphQLError {
  const logged: Logged = (entry) => {
    const errorId = randomBytes(6).toString('base64url');
    log({ errorId, ...entry });
    return errorId;
  };
  return (error) => {
    const original = error.originalError;
    const database = databaseFields.safeParse(original);
    const cursor = database.success ? madeUpCursor(database.data, error) : FOREIGN_CURSOR.exec(original?.message ?? '')?.[1];
    if (database.success && !cursor) return replaceError(error, ...ofDatabase(database.data, error, logged));
    if (cursor || original instanceof SafeError) {
      const shown = cursor ? cursorError(cursor as 'before' | 'after') : (original as SafeError);
      const { statusCode: _status, ...extensions } = shown.extensions ?? {};
      return replaceError(error, shown.message, { code: 'INVALID_ARGUMENT', ...extensions });
    }
    if (original && FILTER_ERROR.test(original.message)) {
      return replaceError(error, 'A filter names a value for each condition: none may be null or empty.', { code: 'INVALID_ARGUMENT' });
    }
    if (isRequestError(error)) {
      const field = VARIABLE.exec(error.message)?.slice(1).findLast(Boolean);
      return replaceError(error, error.message, {
        code: 'INVALID_ARGUMENT',
        ...(field ? { details: { field } } : {}),
        ...error.extensions,
      });
    }
    const errorId = logged({ message: String(original ?? error), path: error.path, stack: original?.stack });
    return replaceError(error, INTERNAL, { code: 'INTERNAL', errorId });
  };
}

function ofDatabase(raised: DatabaseError, error: GraphQLError, logged: Logged): [string, Record<string, unknown>] {
  if (raised.code.startsWith('WF')) {
    const { code, ...details } = parseDetail(raised.detail);
    return [raised.message, { code, ...(raised.hint ? { hint: raised.hint } : {}), ...(Object.keys(details).length ? { details } : {}) }];
  }
  // Log without DETAIL, which may hold the row.
  const { code: sqlstate, message, where, constraint } = raised;
  const errorId = logged({ message, sqlstate, where, constraint, path: error.path });
  const { message: shown, ...known } = KNOWN[sqlstate] ?? KNOWN_CLASSES[sqlstate.slice(0, 2)] ?? { code: 'INTERNAL', message: INTERNAL };
  return [shown, { ...known, errorId }];
}

/**
 * Returns the error that a client sees for a PostgreSQL error that says something to it, such as a statement that took
 * too long; undefined for an error of the schema itself (class WF), and for any other.
 */
export function knownDatabaseError(error: unknown): FlowgresError | undefined {
  const { data } = databaseFields.safeParse(error);
  const known = data && !data.code.startsWith('WF') && (KNOWN[data.code] ?? KNOWN_CLASSES[data.code.slice(0, 2)]);
  if (!known) return undefined;
  const { code, message, hint } = { hint: undefined, ...known };
  return new FlowgresError(code, message, { ...(hint ? { hint } : {}), cause: error });
}

/** Returns the argument of the failed list that holds a cursor; undefined when there is none. */
function madeUpCursor({ code }: DatabaseError, { nodes }: GraphQLError): string | undefined {
  if (!UNREADABLE.has(code)) return undefined;
  return nodes && cursorIn(nodes);
}

/**
 * Returns the cursor argument in the failed field or below it: a list inside of an object can be part of the
 * object's statement, and then the object fails.
 */
function cursorIn(nodes: readonly ASTNode[]): string | undefined {
  for (const node of nodes) {
    if (node.kind !== 'Field' && node.kind !== 'InlineFragment') continue;
    const given = node.kind === 'Field' ? node.arguments?.map(({ name }) => name.value) : undefined;
    const found = given?.find((name) => name === 'after' || name === 'before') ?? cursorIn(node.selectionSet?.selections ?? []);
    if (found) return found;
  }
  return undefined;
}

function parseDetail(detail: string | undefined): z.infer<typeof knownDetail> {
  try {
    return knownDetail.parse(JSON.parse(detail ?? ''));
  } catch {
    return { code: 'INTERNAL' };
  }
}

/** Whether the document or its variables were wrong, so that nothing was executed. */
function isRequestError(error: GraphQLError): boolean {
  return !error.path && (!error.originalError || error.originalError instanceof GraphQLError);
}

/** Returns the error with another message and other extensions, at the same place. */
export function replaceError(error: GraphQLError, message: string, extensions: Record<string, unknown>): GraphQLError {
  const { nodes, source, positions, path } = error;
  return new GraphQLError(message, {
    nodes: nodes ?? null,
    source: source ?? null,
    positions: positions ?? null,
    path: path ?? null,
    extensions,
  });
}

/**
 * What a client learns of a failure. Our own errors (SQLSTATE class WF) say what happened and what to do; a few of
 * PostgreSQL's have a fixed text; everything else is masked. What the client is not shown is logged under the id it gets.
 */
import { randomBytes } from 'node:crypto';
import { SafeError } from 'postgraphile/grafast';
import { type ASTNode, GraphQLError } from 'postgraphile/graphql';
import { z } from 'zod';
import type { LogError } from '../http/errors.ts';
import { cursorError } from './paging.ts';

/** An error as PostgreSQL sent it. */
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

/** The filter plugin has no type of its own for the one mistake that the schema does not exclude. */
const FILTER_ERROR = /^(?:Null literals|Empty objects) are forbidden in filter argument input/;

/** A cursor of another list, or of the same one in another order. */
const FOREIGN_CURSOR = /^Invalid '(before|after)' cursor/;

/** PostgreSQL could not read a value. Those of arguments were looked at before: what is left is a cursor that was made up. */
const UNREADABLE = new Set(['22P02', '22003', '22007', '22008']);

/** How GraphQL says which variable is wrong, and where in it. */
const VARIABLE = /^Variable "\$(\w+)" (?:got invalid value .*(?: at "([^"]+)")|got invalid value |of )/s;

/** Every other error of that class; it is logged, for it may be a mistake of ours. */
const KNOWN_CLASSES: Record<string, { code: string; message: string }> = {
  '22': { code: 'INVALID_ARGUMENT', message: 'A value is impossible, or out of the range of its type.' },
  '53': { code: 'UNAVAILABLE', message: 'The database has no room for this request. Try again in a moment.' },
  '57': { code: 'UNAVAILABLE', message: 'The database is not available. Try again in a moment.' },
  '54': { code: 'TOO_LARGE', message: 'A value is too large, or nested too deeply.' },
};

/** Logs and returns the id. */
type Logged = (entry: { message: string; [key: string]: unknown }) => string;

/** For `grafserv.maskError`. */
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
  // Without DETAIL: it may hold the row.
  const { code: sqlstate, message, where, constraint } = raised;
  const errorId = logged({ message, sqlstate, where, constraint, path: error.path });
  const { message: shown, ...known } = KNOWN[sqlstate] ?? KNOWN_CLASSES[sqlstate.slice(0, 2)] ?? { code: 'INTERNAL', message: INTERNAL };
  return [shown, { ...known, errorId }];
}

/** The argument of the list that failed, where it has a cursor. */
function madeUpCursor({ code }: DatabaseError, { nodes }: GraphQLError): string | undefined {
  if (!UNREADABLE.has(code)) return undefined;
  return nodes && cursorIn(nodes);
}

/** A list inside of an object can be part of the object's statement: then the object has failed. */
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

/** The document or its variables were wrong: nothing was executed yet. */
function isRequestError(error: GraphQLError): boolean {
  return !error.path && (!error.originalError || error.originalError instanceof GraphQLError);
}

/** The same error at the same place, with another text. */
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

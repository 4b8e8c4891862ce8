/** Says in one line what an error means: for the command line, and for the log of the embedded server. */
import pg from 'pg';
import { FlowgresError } from '../errors.ts';
import { isLostConnection, lostConnection } from './connections.ts';

/** Returns one line: what happened and what to do. */
export function describeError(error: unknown): string {
  if (error instanceof FlowgresError) return [error.message, error.hint].filter(Boolean).join(' ');
  if (isLostConnection(error)) return describeError(lostConnection(error));
  if (error instanceof pg.DatabaseError) return describeDatabaseError(error);
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function describeDatabaseError(error: pg.DatabaseError): string {
  // Messages of class WF are complete sentences.
  if (error.code?.startsWith('WF')) return [error.message, error.hint].filter(Boolean).join(' ');
  const hints: Record<string, string> = {
    '53100': 'The disk of the database server is full: free some space and start again.',
    '53300': 'The server has no connection left: raise its max_connections or stop other clients.',
    '42501': 'Connect as a superuser, or on PostgreSQL 16 and newer as a role with CREATEROLE and CREATEDB.',
  };
  return [`PostgreSQL says: ${error.message}.`, error.hint ?? hints[error.code ?? '']].filter(Boolean).join(' ');
}

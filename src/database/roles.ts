/** Creates the cluster-wide roles. Runs before the migrations, which belong to one database only. */
import { createHash, createHmac, pbkdf2Sync, randomBytes, scryptSync } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { DEFAULT_SCHEMA } from './api_schema.ts';
import { connect, withDatabase } from './connections.ts';
import { ROLE_TIME_LIMITS, SESSION_SETTINGS } from './session_settings.ts';

/** Roles that log in. Each process uses its own, so that it has only the rights that its work needs. */
export const LOGIN_ROLES = [
  'flowgres_api',
  'flowgres_intake',
  'flowgres_worker',
  'flowgres_maintenance',
  'flowgres_monitor',
  'flowgres_queue',
] as const;
/** The name of a role that logs in. */
export type LoginRole = (typeof LOGIN_ROLES)[number];

/** Settings of single roles. A default limit ends requests for which no other limit is set. */
const SETTINGS_OF: Partial<Record<LoginRole, Record<string, string>>> = {
  flowgres_api: { statement_timeout: '30s' },
  flowgres_intake: { statement_timeout: '30s' },
};

/** The passwords that a process knows. `of` throws FlowgresError SECRET_MISSING for a role without one. */
export interface RolePasswords {
  has(role: LoginRole): boolean;
  of(role: LoginRole): string;
}

/**
 * Derives the passwords of all roles from one secret, by a slow hash computed once per role. Only the process
 * that creates the roles needs the secret: whoever has it can log in as each of them.
 */
export function derivePasswords(secret: string): RolePasswords {
  const derived = new Map<LoginRole, string>();
  return {
    has: () => true,
    of: (role) => {
      const password = derived.get(role) ?? scryptSync(secret, `password of ${role}`, 32).toString('base64url');
      derived.set(role, password);
      return password;
    },
  };
}

const ROLES_FILE = new URL('../../sql/roles.sql', import.meta.url);
/** Key of the advisory lock that serializes `flowgres roles` in one cluster; an arbitrary constant. */
const LOCK = 4_608_275_001;
const ATTEMPTS = 20;

/**
 * Creates or updates the roles, their memberships, settings and passwords. Idempotent, and safe to run from
 * several processes at once.
 *
 * @param adminUrl connection string of a superuser, or of a CREATEROLE user on PostgreSQL 16 and later
 * @param passwords of all roles that log in
 */
export async function createRoles(adminUrl: string, passwords: RolePasswords): Promise<void> {
  const sql = await readFile(ROLES_FILE, 'utf8');
  const client = await connect(withDatabase(adminUrl, 'postgres'));
  try {
    // Only pg_catalog: an administrator's session must not call functions that a lesser role has created.
    await client.query('set search_path = pg_catalog');
    await client.query('select pg_advisory_lock($1)', [LOCK]);
    await retryConcurrentUpdate(() => client.query(sql));
    for (const role of LOGIN_ROLES) {
      await setSettings(client, role);
      const password = passwords.of(role);
      if (await canLogIn(adminUrl, role, password)) continue;
      const verifier = client.escapeLiteral(scramVerifier(password));
      await retryConcurrentUpdate(() => client.query(`alter role ${role} password ${verifier}`));
    }
  } finally {
    await client.end();
  }
}

/** Sets the settings that the role's sessions depend on; writes only those that differ. */
async function setSettings(client: pg.Client, role: LoginRole): Promise<void> {
  // Roles belong to the server; a database with another schema of the API overrides the path: see prepareDatabase().
  const wanted: Record<string, string> = { ...SESSION_SETTINGS, search_path: DEFAULT_SCHEMA, ...ROLE_TIME_LIMITS, ...SETTINGS_OF[role] };
  const { rows } = await client.query<{ name: string; is_set: boolean }>(
    `select w.name, w.value is not distinct from (
       select o.option_value
       from pg_db_role_setting as s cross join pg_options_to_table(s.setconfig) as o
       where s.setdatabase = 0 and s.setrole = $1::regrole and lower(o.option_name collate "C") = w.name
     ) as is_set
     from json_each_text($2) as w (name, value)
     where exists (select from pg_settings as k where lower(k.name collate "C") = w.name)`,
    [role, JSON.stringify(wanted)],
  );
  for (const { name, is_set: isSet } of rows) {
    if (isSet) continue;
    await retryConcurrentUpdate(() => client.query(`alter role ${role} set ${name} to ${client.escapeLiteral(wanted[name]!)}`));
  }
}

/** Returns `adminUrl` with the login of `role`. */
export function roleUrl(adminUrl: string, passwords: RolePasswords, role: LoginRole): string {
  const url = new URL(adminUrl);
  url.username = role;
  url.password = encodeURIComponent(passwords.of(role));
  return url.href;
}

async function canLogIn(adminUrl: string, role: LoginRole, password: string): Promise<boolean> {
  const url = new URL(withDatabase(adminUrl, 'postgres'));
  url.username = role;
  url.password = password;
  const client = new pg.Client({ connectionString: url.href, connectionTimeoutMillis: 5_000 });
  try {
    await client.connect();
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/**
 * Repeats an action that parallel calls in one cluster make fail: PostgreSQL reports XX000 `tuple concurrently
 * updated` when they change the same catalog rows.
 */
async function retryConcurrentUpdate(action: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await action();
      return;
    } catch (error) {
      // Match by code only: the server may report the message in another language.
      const concurrent = error instanceof pg.DatabaseError && ['XX000', '23505'].includes(error.code ?? '');
      if (!concurrent || attempt === ATTEMPTS) throw error;
      await delay(20 * attempt);
    }
  }
}

/**
 * Returns the SCRAM verifier that PostgreSQL stores for a password. Sending it instead of the password keeps
 * the password out of all logs.
 */
function scramVerifier(password: string): string {
  const iterations = 4096;
  const salt = randomBytes(16);
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256');
  const hmac = (text: string) => createHmac('sha256', salted).update(text).digest();
  const storedKey = createHash('sha256').update(hmac('Client Key')).digest('base64');
  const serverKey = hmac('Server Key').toString('base64');
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey}:${serverKey}`;
}

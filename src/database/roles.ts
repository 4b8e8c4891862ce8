/** The cluster-wide roles: made before the migrations, since a migration belongs to one database only. */
import { createHash, createHmac, pbkdf2Sync, randomBytes, scryptSync } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { connect, withDatabase } from './connections.ts';
import { ROLE_TIME_LIMITS, SESSION_SETTINGS } from './session_settings.ts';

/** Roles that log in; each process uses its own, so that none has more rights than its work needs. */
export const LOGIN_ROLES = [
  'flowgres_api',
  'flowgres_intake',
  'flowgres_worker',
  'flowgres_maintenance',
  'flowgres_monitor',
  'flowgres_queue',
] as const;
export type LoginRole = (typeof LOGIN_ROLES)[number];

/** Settings that a role has of its own. What requests wait for must not go on for ever where nobody has set a limit. */
const SETTINGS_OF: Partial<Record<LoginRole, Record<string, string>>> = {
  flowgres_api: { statement_timeout: '30s' },
  flowgres_intake: { statement_timeout: '30s' },
};

/** The passwords that a process was given. `of` throws FlowgresError `SECRET_MISSING` for a role that it was given none of. */
export interface RolePasswords {
  has(role: LoginRole): boolean;
  of(role: LoginRole): string;
}

/**
 * Passwords of all roles, derived from one secret. Only where roles are made needs it: whoever has it can log in as
 * each of them. The derivation is slow on purpose, and done once a role.
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
/** Any constant will do: it serialises `flowgres roles` of parallel databases in one cluster. */
const LOCK = 4_608_275_001;
const ATTEMPTS = 20;

/**
 * Creates the roles, their memberships, settings and passwords. Idempotent, and safe to run from many processes at once.
 *
 * @param adminUrl  connection string of a superuser, or of a CREATEROLE user on 16 and later
 * @param passwords of all roles that log in
 */
export async function createRoles(adminUrl: string, passwords: RolePasswords): Promise<void> {
  const sql = await readFile(ROLES_FILE, 'utf8');
  const client = await connect(withDatabase(adminUrl, 'postgres'));
  try {
    // An administrator's session calls nothing that a lesser role could have put into another schema.
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

/** Gives a role the settings that its sessions depend on; writes only those that it does not have yet. */
async function setSettings(client: pg.Client, role: LoginRole): Promise<void> {
  const wanted = { ...SESSION_SETTINGS, ...ROLE_TIME_LIMITS, ...SETTINGS_OF[role] };
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

/** `adminUrl` with the login of `role`. */
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

/** Parallel clusters steps touch the same catalog rows; PostgreSQL then says XX000 `tuple concurrently updated`. */
async function retryConcurrentUpdate(action: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await action();
      return;
    } catch (error) {
      // The server may say it in another language.
      const concurrent = error instanceof pg.DatabaseError && ['XX000', '23505'].includes(error.code ?? '');
      if (!concurrent || attempt === ATTEMPTS) throw error;
      await delay(20 * attempt);
    }
  }
}

/** What PostgreSQL stores for a SCRAM password; sent instead of the password, so that no log ever holds it. */
function scramVerifier(password: string): string {
  const iterations = 4096;
  const salt = randomBytes(16);
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256');
  const hmac = (text: string) => createHmac('sha256', salted).update(text).digest();
  const storedKey = createHash('sha256').update(hmac('Client Key')).digest('base64');
  const serverKey = hmac('Server Key').toString('base64');
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey}:${serverKey}`;
}

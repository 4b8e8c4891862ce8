/**
 * Registration, login and passwords: hashes a password where one is needed, then calls the SQL function of the
 * same operation. Each call is one transaction with the settings of its request.
 */
import pg from 'pg';
import { SafeError } from 'postgraphile/grafast';
import { z } from 'zod';
import { LIMITS } from '../constants.ts';
import { type RequestSettings, runAsRequest } from '../database/request_statement.ts';
import { FlowgresError } from '../errors.ts';
import { networkOfAddress } from '../http/client.ts';
import type { ConnectionShare } from '../limits/connection_share.ts';
import type { HashCaller, HashKind } from './hash_queue.ts';
import { type Passwords, password } from './passwords.ts';

/** PostgreSQL's text cannot hold the character U+0000, nor half of a pair of surrogates. */
const text = (longest: number) =>
  z
    .string()
    .max(longest)
    .refine((each) => !each.includes('\0') && each.isWellFormed());
const email = text(254);
/** Whatever somebody sends when logging in; longer text than a password may have would only cost time. */
const anyPassword = z
  .string()
  .refine((text) => Buffer.byteLength(text) <= LIMITS.passwords.maxBytes, 'A password has at most 1,024 bytes.');

/** The zod shape of each operation's input. */
export const INPUTS = {
  register: z.strictObject({ name: text(200), email, password }),
  login: z.strictObject({ email, password: anyPassword }),
  resetPassword: z.strictObject({ code: text(256), password }),
  changePassword: z.strictObject({ currentPassword: anyPassword, password }),
} as const;

const startedSession = z.object({
  secret: z.string(),
  expiresAt: z.string(),
  userId: z.string(),
  organizationId: z.string().nullable(),
});
/** What a login returns: the new session. */
export type StartedSession = z.infer<typeof startedSession>;

/**
 * The operations on accounts. Methods throw FlowgresError with the database's code, VALIDATION_FAILED for an
 * input that does not fit {@link INPUTS}, or TOO_BUSY when too many passwords wait to be hashed.
 */
export class Accounts {
  readonly #pool: pg.Pool;
  readonly #passwords: Passwords;
  readonly #connections: ConnectionShare;

  /**
   * @param pool logs in as flowgres_api
   * @param connections shares the pool among callers
   */
  constructor(pool: pg.Pool, passwords: Passwords, connections: ConnectionShare) {
    this.#pool = pool;
    this.#passwords = passwords;
    this.#connections = connections;
  }

  /** Registers an address. Always true: only a mail to the address tells whether it has an account. */
  async register(settings: RequestSettings, input: unknown): Promise<boolean> {
    const { name, email, password } = parse(INPUTS.register, input);
    await this.#query(settings, 'select engine.begin_registration(name => $1, email => $2)', [name, email]);
    const hash = await this.#counted(settings, 'register', null, (caller) => this.#passwords.hash(password, caller));
    await this.#query(settings, 'select register_user(name => $1, email => $2, password_hash => $3)', [name, email, hash]);
    return true;
  }

  async login(settings: RequestSettings, input: unknown): Promise<StartedSession> {
    const { email, password } = parse(INPUTS.login, input);
    // Count the attempt and commit it before the password is checked: a failure cannot undo the count, and a
    // hundred concurrent attempts count as a hundred.
    const stored = await this.#beginLogin(settings, email);
    // Hash even without an account, so that the answer takes the same time.
    const key = await this.#counted(settings, 'login', email, (caller) =>
      this.#passwords.key(password, stored ?? this.#passwords.newSettings(), caller),
    );
    const [session] = await this.#query(
      settings,
      `select secret, to_json(expires_at) #>> '{}' as "expiresAt", user_id as "userId", organization_id as "organizationId"
       from login(email => $1, password_key => $2)`,
      [email, key],
    );
    const hash =
      stored && this.#passwords.isOutdated(stored)
        ? // Not urgent: when hashing is refused, a later login stores the new hash.
          await this.#passwords.hash(password, callerOf(settings, 'login')).catch(() => null)
        : null;
    if (hash !== null) {
      await this.#query(settings, 'select rehash_password(email => $1, password_key => $2, password_hash => $3)', [email, key, hash]);
    }
    return startedSession.parse(session);
  }

  /** Ends the session that asks. */
  async logout(settings: RequestSettings): Promise<boolean> {
    await this.#query(settings, 'select logout()', [], 'flowgres_user');
    return true;
  }

  /** Returns the id of the user whose password was reset. */
  async resetPassword(settings: RequestSettings, input: unknown): Promise<string> {
    const { code, password } = parse(INPUTS.resetPassword, input);
    await this.#query(settings, 'select engine.begin_reset(code => $1)', [code]);
    const hash = await this.#counted(settings, 'reset', null, (caller) => this.#passwords.hash(password, caller));
    const [row] = await this.#query(settings, 'select reset_password(code => $1, password_hash => $2) as id', [code, hash]);
    return z.object({ id: z.string() }).parse(row).id;
  }

  /** Returns how many other sessions of the user it has ended. */
  async changePassword(settings: RequestSettings, input: unknown): Promise<number> {
    const { currentPassword, password } = parse(INPUTS.changePassword, input);
    const stored = await this.#beginLogin(settings, null);
    const [key, hash] = await this.#counted(settings, 'login', null, async (caller) => [
      await this.#passwords.key(currentPassword, stored ?? this.#passwords.newSettings(), caller),
      await this.#passwords.hash(password, caller),
    ]);
    const [row] = await this.#query(settings, 'select change_password(current_key => $1, password_hash => $2) as ended', [key, hash]);
    return z.object({ ended: z.number() }).parse(row).ended;
  }

  async #beginLogin(settings: RequestSettings, email: string | null): Promise<string | null> {
    const [row] = await this.#query(settings, 'select begin_login(email => $1) as settings', [email]);
    return z.object({ settings: z.string().nullable() }).parse(row).settings;
  }

  /** Runs work that was counted as a login attempt. Takes the count back when the work fails: too many hashes waited. */
  async #counted<T>(
    settings: RequestSettings,
    kind: 'login' | 'register' | 'reset',
    email: string | null,
    work: (caller: HashCaller) => Promise<T>,
  ): Promise<T> {
    try {
      return await work(callerOf(settings, kind === 'login' ? 'login' : 'registration'));
    } catch (error) {
      await this.#query(settings, 'select engine.forgive_attempt(kind => $1, email => $2)', [kind, email]).catch(() => undefined);
      throw error;
    }
  }

  /** Runs one statement in a transaction of its own, with the settings of the request. */
  #query(settings: RequestSettings, text: string, values: unknown[], role = 'flowgres_api'): Promise<unknown[]> {
    return this.#connections.use(settings, () => runAsRequest(this.#pool, { ...settings, role }, text, values));
  }
}

function callerOf(settings: RequestSettings, kind: HashKind): HashCaller {
  return { kind, network: networkOfAddress(settings['flowgres.client_ip'] ?? '') };
}

function parse<T extends z.ZodType>(shape: T, input: unknown): z.infer<T> {
  const parsed = shape.safeParse(input);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const field = String(issue?.path[0] ?? '');
  // zod's messages address programmers; the messages about a password are written for users.
  const message =
    field.endsWith('assword') && issue?.code !== 'invalid_type' ? issue!.message : `${field || 'The input'} is not as it must be.`;
  throw new FlowgresError('VALIDATION_FAILED', message, field ? { details: { field } } : {});
}

const refusal = z.looseObject({ code: z.string(), hint: z.string().optional(), details: z.record(z.string(), z.unknown()).optional() });

/** Maps a database error, or a failed check of a secret, to FlowgresError; returns any other error unchanged. */
export function asFlowgresError(error: unknown): unknown {
  if (error instanceof SafeError) {
    const { code, hint, details } = refusal.parse(error.extensions);
    return new FlowgresError(code, error.message, { ...(hint ? { hint } : {}), ...(details ? { details } : {}) });
  }
  if (!(error instanceof pg.DatabaseError) || !error.code?.startsWith('WF')) return error;
  const { code, ...details } = z.looseObject({ code: z.string() }).parse(JSON.parse(error.detail ?? '{}'));
  return new FlowgresError(code, error.message, {
    ...(error.hint ? { hint: error.hint } : {}),
    ...(Object.keys(details).length ? { details } : {}),
    cause: error,
  });
}

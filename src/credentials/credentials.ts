/**
 * Creates and changes credentials for requests: checks the data, seals it, then calls the SQL function of the same
 * operation. Seals the values of secret variables, too. A secret never reaches a statement of SQL.
 */
import type pg from 'pg';
import { z } from 'zod';
import { type RequestSettings, runAsRequest } from '../database/request_statement.ts';
import { FlowgresError } from '../errors.ts';
import { JsonText } from '../json/json.ts';
import type { ConnectionShare } from '../limits/connection_share.ts';
import { checkCredential, checkSecretText } from '../vault/check.ts';
import { type OpenCredential, openRow } from '../vault/credentials.ts';
import { type Vault, newSecretId, requireVault } from '../vault/vault.ts';

const uuid = z.guid();
const text = (longest: number) =>
  z
    .string()
    .max(longest)
    .refine((each) => !each.includes('\0') && each.isWellFormed());
/** GraphQL hands JSON over as its text. */
const json = z.unknown().transform((data) => (data instanceof JsonText ? data.value : data));
const hosts = z.array(text(300)).max(100);

/** The zod shape of each operation's input. */
export const INPUTS = {
  create: z.strictObject({
    name: text(1_000),
    type: text(100),
    data: json,
    allowedHosts: hosts.nullish(),
    isShared: z.boolean().nullish(),
    expiresAt: z.string().max(100).nullish(),
  }),
  update: z.strictObject({
    id: uuid,
    name: text(1_000).nullish(),
    data: json.optional(),
    allowedHosts: hosts.nullish(),
    expiresAt: z.string().max(100).nullish(),
  }),
  setVariable: z.strictObject({
    name: text(1_000),
    value: z.unknown(),
    isSecret: z.boolean().nullish(),
    allowedHosts: hosts.nullish(),
  }),
} as const;

const idRow = z.object({ id: z.string() });

/** The arguments of set_variable(), by their names. */
export interface VariableArguments {
  name: string;
  value: unknown;
  secret: boolean;
  allowed_hosts: string[];
}

/**
 * The operations on credentials. Methods throw FlowgresError VALIDATION_FAILED or TOO_LARGE for an input that is not as
 * it must be, VAULT_UNAVAILABLE when the process has no keys, and the database's errors.
 */
export class CredentialCommands {
  readonly #pool: pg.Pool;
  readonly #connections: ConnectionShare;
  readonly #vault: Vault | undefined;

  /**
   * @param pool logs in as flowgres_api
   * @param connections shares the pool among callers
   * @param vault the keys of this process
   */
  constructor(pool: pg.Pool, connections: ConnectionShare, vault: Vault | undefined) {
    this.#pool = pool;
    this.#connections = connections;
    this.#vault = vault;
  }

  /** Returns the id of a new credential. */
  async create(settings: RequestSettings, input: unknown): Promise<string> {
    const { name, type, data, allowedHosts, isShared, expiresAt } = parse(INPUTS.create, input);
    const checked = checkCredential(type, data);
    const vault = requireVault(this.#vault);
    const organizationId = await this.#organization(settings);
    const id = newSecretId();
    const envelope = vault.seal({ organizationId, id, version: 1 }, checked);
    await this.query(
      settings,
      `select id from create_credential(id => $1, name => $2, type => $3, envelope => $4, allowed_hosts => coalesce($5::text[], '{}'),
         is_shared => coalesce($6::boolean, false), expires_at => $7)`,
      [id, name, type, envelope, allowedHosts ?? null, isShared ?? null, expiresAt ?? null],
    );
    return id;
  }

  /** Changes a credential; data, when given, replaces the whole secret. Returns its id. */
  async update(settings: RequestSettings, input: unknown): Promise<string> {
    const { id, name, data, allowedHosts, expiresAt } = parse(INPUTS.update, input);
    let envelope: string | null = null;
    let version: number | null = null;
    if (data !== undefined && data !== null) {
      const current = await this.#sealTarget(settings, id);
      version = current.version + 1;
      envelope = requireVault(this.#vault).seal(
        { organizationId: current.organization_id, id, version },
        checkCredential(current.type, data),
      );
    }
    await this.query(
      settings,
      'select id from update_credential(id => $1, name => $2, envelope => $3, version => $4, allowed_hosts => $5, expires_at => $6)',
      [id, name ?? null, envelope, version, allowedHosts ?? null, expiresAt ?? null],
    );
    return id;
  }

  /** Returns the arguments of set_variable() for an input; the value of a secret variable is sealed. */
  async sealVariable(settings: RequestSettings, input: unknown): Promise<VariableArguments> {
    const { name, value, isSecret, allowedHosts } = parse(INPUTS.setVariable, input);
    const given = isSecret ? await this.#sealVariable(settings, name, json.parse(value)) : value;
    return { name, value: given, secret: isSecret ?? false, allowed_hosts: allowedHosts ?? [] };
  }

  /** Opens a credential that the request may use. */
  async open(settings: RequestSettings, id: string): Promise<OpenCredential> {
    const vault = requireVault(this.#vault);
    const [row] = await this.query(settings, 'select * from engine.read_own_credential($1)', [parse(uuid, id)]);
    const { organization_id: organizationId } = z.looseObject({ organization_id: z.string() }).parse(row);
    return openRow(vault, organizationId, row);
  }

  /** Runs one statement in a transaction of its own, with the settings of the request. */
  query(settings: RequestSettings, statement: string, values: unknown[]): Promise<unknown[]> {
    return this.#connections.use(settings, () => runAsRequest(this.#pool, { ...settings, role: 'flowgres_api' }, statement, values));
  }

  /** The organization that the request acts for; a request without one is refused here, before anything is sealed. */
  async #organization(settings: RequestSettings): Promise<string> {
    const [row] = await this.query(settings, 'select engine.credential_organization() as id', []);
    return idRow.parse(row).id;
  }

  async #sealVariable(settings: RequestSettings, name: string, value: unknown): Promise<unknown> {
    const secret = checkSecretText(value);
    const vault = requireVault(this.#vault);
    const [row] = await this.query(settings, 'select engine.variable_to_seal($1) as id', [name]);
    const id = newSecretId();
    return { id, envelope: vault.seal({ organizationId: idRow.parse(row).id, id, version: 1 }, secret) };
  }

  async #sealTarget(settings: RequestSettings, id: string): Promise<{ organization_id: string; type: string; version: number }> {
    const [row] = await this.query(settings, 'select * from engine.credential_to_seal($1)', [id]);
    return z.object({ organization_id: z.string(), type: z.string(), version: z.number() }).parse(row);
  }
}

/**
 * Returns the id of a credential.
 *
 * @throws FlowgresError VALIDATION_FAILED
 */
export function parseId(id: unknown): string {
  return parse(uuid, id);
}

function parse<T extends z.ZodType>(shape: T, input: unknown): z.infer<T> {
  const parsed = shape.safeParse(input);
  if (parsed.success) return parsed.data;
  const field = parsed.error.issues[0]?.path.map(String).join('.') ?? '';
  // Without the value: it may be a secret that was put into the wrong field.
  throw new FlowgresError('VALIDATION_FAILED', `${field || 'The input'} is not as it must be.`, field ? { details: { field } } : {});
}

/**
 * Reads sealed credentials and opens them, just before they are used. The rows come from the database at each use, so
 * that a change or a deletion counts at once; who keeps an opened credential longer says so.
 */
import type pg from 'pg';
import { z } from 'zod';
import { Statements } from '../engine/statements.ts';
import { FlowgresError } from '../errors.ts';
import { missingVariable } from './secret_texts.ts';
import { type Vault, requireVault } from './vault.ts';

/** Which credential: of an organization, by the name that a definition has, or by id. */
export type CredentialRef = { organizationId: string } & ({ name: string } | { id: string });

/** A credential with its secret. Keep it in memory only, as short as possible. */
export interface OpenCredential {
  id: string;
  organizationId: string;
  name: string;
  type: string;
  version: number;
  /** What was sealed; its shape is that of the type in types.ts. */
  data: Record<string, unknown>;
  /** Where it may be sent. */
  allowedHosts: string[];
  expiresAt: Date | null;
}

const row = z.object({
  id: z.string(),
  name: z.string(),
  type: z.string(),
  version: z.number(),
  allowed_hosts: z.array(z.string()),
  expires_at: z.date().nullable(),
  key_id: z.string(),
  wrapped_key: z.instanceof(Buffer),
  sealed: z.instanceof(Buffer),
});

const variableRow = row.omit({ type: true, expires_at: true });

/** The credentials that a worker or the intake can open. */
export class Credentials {
  readonly #statements: Statements;
  readonly #vault: Vault | undefined;

  /**
   * @param pool made by createEnginePool, of flowgres_worker or flowgres_intake
   * @param vault the keys of this process; without them nothing can be opened
   */
  constructor(pool: pg.Pool, vault: Vault | undefined) {
    this.#statements = new Statements(pool);
    this.#vault = vault;
  }

  /**
   * Opens a credential.
   *
   * @throws FlowgresError CREDENTIAL_NOT_FOUND, VAULT_UNAVAILABLE, VAULT_KEY_UNKNOWN, ENVELOPE_INVALID, UNAVAILABLE
   */
  async open(ref: CredentialRef): Promise<OpenCredential> {
    const vault = requireVault(this.#vault);
    const { organizationId } = ref;
    const { rows } = await this.#statements.ask(
      'read_credential',
      'select * from engine.read_credential(p_organization_id => $1, p_id => $2, p_name => $3)',
      [organizationId, 'id' in ref ? ref.id : null, 'name' in ref ? ref.name : null],
    );
    if (rows.length === 0) throw missing(ref);
    return openRow(vault, organizationId, rows[0]);
  }

  /**
   * Opens secret variables of an organization, for a worker.
   *
   * @throws FlowgresError VARIABLE_NOT_FOUND, and those of {@link Credentials.open}
   */
  async openVariables(organizationId: string, names: readonly string[]): Promise<OpenVariable[]> {
    const vault = requireVault(this.#vault);
    const { rows } = await this.#statements.ask('read_secret_variables', 'select * from engine.read_secret_variables($1, $2)', [
      organizationId,
      names,
    ]);
    const found = new Map(rows.map((each) => variableRow.parse(each)).map((each) => [each.name, each]));
    return Promise.all(
      names.map(async (name) => {
        const sealed = found.get(name);
        if (!sealed) throw missingVariable(name);
        const { id, version, allowed_hosts: allowedHosts } = sealed;
        const envelope = { keyId: sealed.key_id, wrappedKey: sealed.wrapped_key, sealed: sealed.sealed };
        return { name, allowedHosts, value: z.string().parse(await vault.open({ organizationId, id, version }, envelope)) };
      }),
    );
  }
}

/** A secret variable with its value. Keep it in memory only, as short as possible. */
export interface OpenVariable {
  name: string;
  value: string;
  /** Where it may be sent. */
  allowedHosts: string[];
}

/** Opens a row of engine.read_credential() or engine.read_own_credential(). Errors as of {@link Credentials.open}. */
export async function openRow(vault: Vault, organizationId: string, given: unknown): Promise<OpenCredential> {
  const { id, name, type, version, ...sealed } = row.parse(given);
  const data = await vault.open(
    { organizationId, id, version },
    { keyId: sealed.key_id, wrappedKey: sealed.wrapped_key, sealed: sealed.sealed },
  );
  return {
    id,
    organizationId,
    name,
    type,
    version,
    data: z.record(z.string(), z.unknown()).parse(data),
    allowedHosts: sealed.allowed_hosts,
    expiresAt: sealed.expires_at,
  };
}

function missing(ref: CredentialRef): FlowgresError {
  const which = 'name' in ref ? JSON.stringify(ref.name) : ref.id;
  return new FlowgresError('CREDENTIAL_NOT_FOUND', `The organization has no credential ${which}.`, {
    hint: 'Create it again under this name, or publish the workflow with another one.',
  });
}

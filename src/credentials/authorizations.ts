/**
 * Logins at OAuth2 providers with credentials of type oauth2AuthorizationCode: `authorizeCredential` gives the address,
 * the provider sends the browser back to `/oauth2/callback`, and the tokens are sealed. The state, which is random and
 * counts once, leads from one to the other; PKCE keeps a code that somebody else has seen from being used.
 */
import { createHash } from 'node:crypto';
import { randomPKCECodeVerifier, randomState } from 'openid-client';
import type pg from 'pg';
import { z } from 'zod';
import type { RequestSettings } from '../database/request_statement.ts';
import { Statements } from '../engine/statements.ts';
import { FlowgresError } from '../errors.ts';
import { type OpenCredential, openRow } from '../vault/credentials.ts';
import { parseEnvelope } from '../vault/envelope.ts';
import { type Login, type TokenFetch, authorizationUrl, requestLoginTokens } from '../vault/oauth2.ts';
import { type Vault, newSecretId, requireVault } from '../vault/vault.ts';
import type { CredentialCommands } from './credentials.ts';

/** How often tokens are stored anew when the secret was changed meanwhile. */
const STORE_TRIES = 5;

const ownRow = z.looseObject({ organization_id: z.string() });
const loginRow = z.looseObject({
  organization_id: z.string(),
  authorization_id: z.string(),
  verifier: z.string(),
  redirect_uri: z.string(),
});
const parameters = z.object({
  state: z.string().min(1).max(200),
  code: z.string().min(1).max(4_000).optional(),
  error: z.string().max(1_000).optional(),
});

/** Options of {@link Authorizations}. */
export interface AuthorizationsOptions {
  /** Pool of flowgres_api. */
  pool: pg.Pool;
  commands: Pick<CredentialCommands, 'query'>;
  vault: Vault | undefined;
  /** The origin at which browsers reach this server; without one nobody can log in. */
  publicUrl: string | undefined;
  fetch: TokenFetch;
}

/** Begins logins and ends them. */
export class Authorizations {
  readonly #options: AuthorizationsOptions;
  readonly #statements: Statements;

  constructor(options: AuthorizationsOptions) {
    this.#options = options;
    this.#statements = new Statements(options.pool);
  }

  /**
   * Begins a login with a credential that the request may change.
   *
   * @throws FlowgresError PUBLIC_URL_MISSING, VAULT_UNAVAILABLE, and the database's errors
   */
  async begin(settings: RequestSettings, credentialId: string): Promise<{ authorizationUrl: string; expiresAt: Date }> {
    const { commands, publicUrl } = this.#options;
    const vault = requireVault(this.#options.vault);
    const [row] = await commands.query(settings, 'select * from engine.credential_to_authorize($1)', [credentialId]);
    if (publicUrl === undefined) {
      throw new FlowgresError('PUBLIC_URL_MISSING', 'This server does not know at which address browsers reach it.', {
        hint: 'Set FLOWGRES_PUBLIC_URL to its origin, such as https://flowgres.example.',
      });
    }
    const { organization_id: organizationId } = ownRow.parse(row);
    const credential = await openRow(vault, organizationId, row);
    const login: Login = {
      redirectUri: new URL('/oauth2/callback', publicUrl).href,
      state: randomState(),
      verifier: randomPKCECodeVerifier(),
    };
    const id = newSecretId();
    const [begun] = await commands.query(settings, 'select engine.begin_authorization($1, $2, $3, $4, $5) as expires_at', [
      credential.id,
      id,
      hashOf(login.state),
      vault.seal({ organizationId, id, version: 1 }, login.verifier),
      login.redirectUri,
    ]);
    const { expires_at: expiresAt } = z.object({ expires_at: z.date() }).parse(begun);
    return { authorizationUrl: await authorizationUrl(credential, login), expiresAt };
  }

  /**
   * Ends a login with what the provider has put into the query of the callback. Resolves to the credential with its tokens.
   *
   * @throws FlowgresError VALIDATION_FAILED, NOT_FOUND (wrong state), ALREADY_USED, EXPIRED, CONFLICT, OAUTH2_REFUSED,
   * OAUTH2_UNAVAILABLE, VAULT_UNAVAILABLE
   */
  async complete(query: URLSearchParams): Promise<OpenCredential> {
    const vault = requireVault(this.#options.vault);
    const parsed = parameters.safeParse(Object.fromEntries(query));
    if (!parsed.success) throw new FlowgresError('VALIDATION_FAILED', 'The provider has sent no state and code.');
    const { state, code, error } = parsed.data;
    const { rows } = await this.#statements.ask('redeem_authorization', 'select * from engine.redeem_authorization($1)', [hashOf(state)]);
    const { organization_id: organizationId, authorization_id: id, verifier, redirect_uri: redirectUri } = loginRow.parse(rows[0]);
    const credential = await openRow(vault, organizationId, rows[0]);
    if (error !== undefined || code === undefined) throw refused(credential, error ?? 'no_code');
    const opened = z.string().parse(await vault.open({ organizationId, id, version: 1 }, parseEnvelope(verifier)));
    const tokens = await requestLoginTokens(credential, { redirectUri, state, verifier: opened }, code, this.#options.fetch);
    return this.#store(vault, credential, hashOf(state), { ...withoutTokens(credential.data), ...tokens });
  }

  /** A step may renew tokens meanwhile: those of the login, which are newer, take their place. */
  async #store(vault: Vault, credential: OpenCredential, stateHash: Buffer, data: Record<string, unknown>): Promise<OpenCredential> {
    const { organizationId, id } = credential;
    for (let version = credential.version + 1; version <= credential.version + STORE_TRIES; version += 1) {
      const envelope = vault.seal({ organizationId, id, version }, data);
      const { rows } = await this.#statements.ask('store_authorization', 'select engine.store_authorization($1, $2, $3) as stored', [
        stateHash,
        version,
        envelope,
      ]);
      if (z.object({ stored: z.boolean() }).parse(rows[0]).stored) return { ...credential, version, data };
    }
    throw new FlowgresError('CONFLICT', 'The credential was changed while somebody logged in.', {
      hint: 'Begin again: authorizeCredential.',
    });
  }
}

function hashOf(state: string): Buffer {
  return createHash('sha256').update(state).digest();
}

function withoutTokens({ accessToken: _access, refreshToken: _refresh, tokenExpiresAt: _expires, ...data }: Record<string, unknown>) {
  return data;
}

/** The provider's word is repeated only where it is one of a code. */
function refused({ name }: OpenCredential, given: string): FlowgresError {
  const error = /^[A-Za-z0-9_.-]{1,100}$/.test(given) ? given : 'unreadable';
  return new FlowgresError('OAUTH2_REFUSED', `The provider refuses the login with the credential ${name}: ${error}.`, {
    hint: 'Begin again: authorizeCredential.',
    details: { error },
  });
}

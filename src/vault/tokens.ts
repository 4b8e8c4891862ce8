/**
 * Keeps access tokens of OAuth2 fresh. Providers revoke everything when a refresh token is used twice, so only one
 * process refreshes a credential at a time: the one that has the lease, a row that expires. The others wait for its
 * tokens. No lock is held in the database while the provider is asked.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { z } from 'zod';
import { LIMITS } from '../constants.ts';
import { Statements } from '../engine/statements.ts';
import { FlowgresError } from '../errors.ts';
import type { Credentials, OpenCredential } from './credentials.ts';
import { type TokenFetch, hasTokens, isFresh, requestTokens } from './oauth2.ts';
import type { Vault } from './vault.ts';

/** Between two looks whether another process has the tokens, in milliseconds. */
const LOOK_MS = 100;
/** The longest wait before tokens are stored again, in milliseconds. */
const LONGEST_WAIT_MS = 2_000;

/** Options of {@link FreshTokens}. */
export interface FreshTokensOptions {
  /** Pool of flowgres_worker. */
  pool: pg.Pool;
  credentials: Credentials;
  vault: Vault;
  fetch: TokenFetch;
}

/** Refreshes tokens, for one process. */
export class FreshTokens {
  readonly #statements: Statements;
  readonly #options: FreshTokensOptions;
  readonly #holder = randomUUID();
  /** Refreshes in progress by credential: all steps of this process wait for the same one. */
  readonly #refreshing = new Map<string, Promise<OpenCredential>>();

  constructor(options: FreshTokensOptions) {
    this.#statements = new Statements(options.pool);
    this.#options = options;
  }

  /**
   * Returns the credential with an access token that can be sent; any other one as it is.
   *
   * @throws FlowgresError OAUTH2_REFUSED, OAUTH2_UNAVAILABLE, CREDENTIAL_INCOMPLETE, and those of Credentials.open()
   */
  async of(credential: OpenCredential): Promise<OpenCredential> {
    if (!hasTokens(credential) || isFresh(credential)) return credential;
    const running = this.#refreshing.get(credential.id);
    if (running) return running;
    const refresh = this.#refresh(credential).finally(() => this.#refreshing.delete(credential.id));
    this.#refreshing.set(credential.id, refresh);
    return refresh;
  }

  async #refresh(given: OpenCredential): Promise<OpenCredential> {
    const giveUpAt = performance.now() + LIMITS.vault.tokenWaitMs;
    for (let credential = given; ; ) {
      const outcome = await this.#lease(credential);
      if (outcome === 'leased') {
        const renewed = await this.#renew(credential);
        if (renewed) return renewed;
      } else if (outcome === 'busy') {
        if (performance.now() > giveUpAt) throw waitedTooLong(credential);
        await delay(LOOK_MS * (0.5 + Math.random()));
      }
      const { organizationId, id } = credential;
      credential = await this.#options.credentials.open({ organizationId, id });
      // Tokens that live for less than a minute are never fresh: those that have just been made will do.
      if (isFresh(credential, credential.version > given.version ? 0 : undefined)) return credential;
    }
  }

  /** Asks the provider and stores its tokens. Resolves to undefined when somebody else has changed the secret meanwhile. */
  async #renew(credential: OpenCredential): Promise<OpenCredential | undefined> {
    const { organizationId, id, version } = credential;
    try {
      const data = { ...credential.data, ...(await requestTokens(credential, this.#options.fetch)) };
      const envelope = this.#options.vault.seal({ organizationId, id, version: version + 1 }, data);
      return (await this.#store([organizationId, id, version + 1, envelope])) ? { ...credential, version: version + 1, data } : undefined;
    } finally {
      await this.#ask('release_credential($1, $2, $3)', [organizationId, id, this.#holder]);
    }
  }

  /**
   * Stores tokens, again and again while the database does not answer: a provider that rotates refresh tokens has revoked
   * the old one, so tokens that are not stored are lost. Resolves to false when somebody else has changed the secret.
   */
  async #store(values: unknown[]): Promise<boolean> {
    const giveUpAt = performance.now() + LIMITS.vault.tokenStoreMs;
    for (let wait = LOOK_MS; ; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
      try {
        return z.boolean().parse(await this.#ask('replace_secret($1, $2, $3, $4)', values));
      } catch (error) {
        if (!(error instanceof FlowgresError) || error.code !== 'UNAVAILABLE' || performance.now() > giveUpAt) throw error;
        await delay(wait * (0.5 + Math.random()));
      }
    }
  }

  async #lease({ organizationId, id, version }: OpenCredential): Promise<'leased' | 'busy' | 'changed'> {
    const outcome = await this.#ask('lease_credential($1, $2, $3, $4)', [organizationId, id, version, this.#holder]);
    return z.enum(['leased', 'busy', 'changed']).parse(outcome);
  }

  async #ask(call: string, values: unknown[]): Promise<unknown> {
    const { rows } = await this.#statements.ask(call, `select engine.${call} as answer`, values);
    return rows[0]?.['answer'];
  }
}

function waitedTooLong({ name }: OpenCredential): FlowgresError {
  return new FlowgresError('OAUTH2_UNAVAILABLE', `Another process has been renewing the tokens of the credential ${name} for too long.`);
}

/**
 * Tests a credential: sends one GET request with it to an address that the caller names, with the guard of httpRequest,
 * and says what the answer means. Only the status of the answer is read.
 */
import type pg from 'pg';
import { z } from 'zod';
import { LIMITS } from '../constants.ts';
import type { RequestSettings } from '../database/request_statement.ts';
import { Statements } from '../engine/statements.ts';
import { FlowgresError } from '../errors.ts';
import { httpRequest } from '../nodes/http_request.ts';
import { createTokenFetch } from '../nodes/token_fetch.ts';
import { type EffectContext, type NodeConfig, NodeError } from '../nodes/types.ts';
import type { OpenCredential } from '../vault/credentials.ts';
import { hasTokens, isFresh, requestTokens } from '../vault/oauth2.ts';
import { Redactor, secretsOf } from '../vault/redact.ts';
import type { CredentialCommands } from './credentials.ts';

const input = z.strictObject({ credentialId: z.guid(), url: z.string().min(1).max(8_192) });
const answer = z.looseObject({ status: z.number() });

/** Whether a peer takes a credential; unknown where the status does not tell. */
export type CredentialOutcome = 'accepted' | 'refused' | 'unknown';

/** What a test has shown. */
export interface CredentialTest {
  /** The status of the answer. */
  status: number;
  outcome: CredentialOutcome;
  hint: string;
}

/** Options of {@link CredentialTests}. */
export interface CredentialTestsOptions {
  /** Pool of flowgres_api. */
  pool: pg.Pool;
  commands: Pick<CredentialCommands, 'open'>;
  /** What the request may reach. */
  nodes: NodeConfig;
}

/** Runs tests of credentials in this process, a few of each organization at a time. */
export class CredentialTests {
  readonly #options: CredentialTestsOptions;
  readonly #statements: Statements;
  readonly #running = new Map<string, number>();

  constructor(options: CredentialTestsOptions) {
    this.#options = options;
    this.#statements = new Statements(options.pool);
  }

  /**
   * Tests a credential that the request may use.
   *
   * @throws FlowgresError VALIDATION_FAILED, NOT_FOUND, RATE_LIMITED, CREDENTIAL_HOST, CREDENTIAL_TYPE,
   * CREDENTIAL_INCOMPLETE, SSRF_BLOCKED, INVALID_URL, HTTP_CONNECTION, TIMEOUT, and those of the vault and of OAuth2
   */
  async test(settings: RequestSettings, given: unknown): Promise<CredentialTest> {
    const parsed = input.safeParse(given);
    if (!parsed.success)
      throw new FlowgresError('VALIDATION_FAILED', 'A test needs a credential and an address.', { details: { field: 'url' } });
    const credential = await this.#options.commands.open(settings, parsed.data.credentialId);
    const { organizationId, id: credentialId } = credential;
    this.#enter(organizationId);
    const redactor = new Redactor();
    redactor.add(secretsOf(credential.type, credential.data));
    try {
      const use = { organizationId, credentialId, workflowId: null, node: 'testCredential', count: 1 };
      await this.#statements.ask('record_credential_uses', 'select engine.record_credential_uses($1)', [JSON.stringify([use])]);
      const status = await this.#statusOf(await this.#withTokens(credential, redactor), parsed.data.url, redactor);
      return { status, ...meaningOf(status) };
    } catch (error) {
      if (!(error instanceof FlowgresError)) throw error;
      const { code, message, hint, details } = error;
      throw new FlowgresError(code, redactor.text(message), {
        ...(hint ? { hint } : {}),
        ...(details ? { details: redactor.value(details) } : {}),
      });
    } finally {
      this.#leave(organizationId);
    }
  }

  /** A client's own tokens are asked for here; those of people are left to steps, which renew them under a lease. */
  async #withTokens(credential: OpenCredential, redactor: Redactor): Promise<OpenCredential> {
    if (!hasTokens(credential) || isFresh(credential)) return credential;
    if (credential.type === 'oauth2AuthorizationCode') {
      throw new FlowgresError('CREDENTIAL_INCOMPLETE', `The credential ${credential.name} has no access token that is valid now.`, {
        hint: 'The next step that uses it renews the token; without a login authorizeCredential gives the address for one.',
      });
    }
    const tokens = await requestTokens(credential, createTokenFetch(this.#options.nodes));
    redactor.add([tokens.accessToken]);
    return { ...credential, data: { ...credential.data, ...tokens } };
  }

  async #statusOf(credential: OpenCredential, url: string, redactor: Redactor): Promise<number> {
    const signal = AbortSignal.timeout(LIMITS.vault.credentialTestMs);
    const context: EffectContext<z.infer<typeof httpRequest.properties>> = {
      organizationId: credential.organizationId,
      properties: httpRequest.properties.parse({ url, responseType: 'base64', followRedirects: false }),
      input: null,
      signal,
      idempotencyKey: `test/${credential.id}`,
      log: () => Promise.resolve(),
      redact: (text) => redactor.text(text),
      reserve: () => Promise.resolve(),
      credentials: { auth: credential },
      variables: [],
      config: this.#options.nodes,
    };
    try {
      return answer.parse((await httpRequest.execute(context)).output).status;
    } catch (error) {
      if (error instanceof NodeError && error.code === 'HTTP_STATUS') return answer.parse(error.details).status;
      if (signal.aborted) throw new FlowgresError('TIMEOUT', `The peer took longer than ${LIMITS.vault.credentialTestMs / 1_000} s.`);
      throw error;
    }
  }

  #enter(organizationId: string): void {
    const running = this.#running.get(organizationId) ?? 0;
    const all = [...this.#running.values()].reduce((sum, each) => sum + each, 0);
    if (running >= LIMITS.vault.credentialTests || all >= LIMITS.vault.credentialTestsOfAll) {
      throw new FlowgresError('RATE_LIMITED', 'Other credentials are being tested.', {
        hint: `An organization tests ${LIMITS.vault.credentialTests} at a time; wait for them.`,
        details: { retryAfterMs: LIMITS.vault.credentialTestMs },
      });
    }
    this.#running.set(organizationId, running + 1);
  }

  #leave(organizationId: string): void {
    const running = this.#running.get(organizationId)! - 1;
    if (running > 0) this.#running.set(organizationId, running);
    else this.#running.delete(organizationId);
  }
}

function meaningOf(status: number): Omit<CredentialTest, 'status'> {
  if (status === 401 || status === 403) {
    return { outcome: 'refused', hint: 'The peer does not accept it: enter the secret again, or look at what it may do there.' };
  }
  if (status < 300) return { outcome: 'accepted', hint: 'The peer answers with it. An address that needs no login would do so, too.' };
  if (status < 400)
    return { outcome: 'unknown', hint: 'The peer leads to another address, which may be its page for a login: test that one.' };
  if (status === 429) return { outcome: 'unknown', hint: 'The peer has had too many requests: test again later.' };
  if (status < 500) return { outcome: 'unknown', hint: 'The peer does not take such a request there: test an address that can be read.' };
  return { outcome: 'unknown', hint: 'The peer has a fault of its own: test again later.' };
}

/** Opens the credentials and secret variables of a step, once for each attempt, just before its node is executed. */
import type pg from 'pg';
import type { StepTask } from '../engine/engine.ts';
import { FlowgresError } from '../errors.ts';
import { createTokenFetch } from '../nodes/token_fetch.ts';
import { type NodeConfig, NodeError } from '../nodes/types.ts';
import { every } from '../scheduler/every.ts';
import { Credentials, type OpenCredential, type OpenVariable } from '../vault/credentials.ts';
import { type Redactor, secretsOf } from '../vault/redact.ts';
import { joinSecretTexts, secretNames } from '../vault/secret_texts.ts';
import { FreshTokens } from '../vault/tokens.ts';
import { CredentialUses, USES_FLUSH_MS } from '../vault/uses.ts';
import type { Vault } from '../vault/vault.ts';

/** The credentials that the steps of one worker use. */
export class StepCredentials {
  readonly #credentials: Credentials;
  readonly #tokens: FreshTokens | undefined;
  readonly #uses: CredentialUses;
  readonly #onProblem: (message: string, error: unknown) => void;
  #timer: { stop(): void } | undefined;

  constructor(pool: pg.Pool, vault: Vault | undefined, config: NodeConfig, onProblem: (message: string, error: unknown) => void) {
    this.#credentials = new Credentials(pool, vault);
    this.#tokens = vault && new FreshTokens({ pool, vault, credentials: this.#credentials, fetch: createTokenFetch(config) });
    this.#uses = new CredentialUses(pool);
    this.#onProblem = onProblem;
  }

  /** Begins to tell the database of uses. */
  start(): void {
    this.#timer = every(USES_FLUSH_MS, () => this.#flush());
  }

  /** Tells the database of the last uses. */
  async stop(): Promise<void> {
    this.#timer?.stop();
    await this.#flush();
  }

  /**
   * Opens the credentials that a task names, by slot, and adds their secrets to what is redacted.
   *
   * @throws FlowgresError as of {@link Credentials.open}
   */
  async open({ organizationId, workflowId, node, credentials }: StepTask, redactor: Redactor): Promise<Record<string, OpenCredential>> {
    const opened: Record<string, OpenCredential> = {};
    for (const [slot, name] of Object.entries(credentials ?? {})) {
      const credential = await this.#freshCredential(organizationId, name, redactor);
      this.#uses.count(credential, { workflowId, node });
      opened[slot] = credential;
    }
    return opened;
  }

  /**
   * Returns the properties of a task with its secret texts joined, and the secret variables in them, whose values are
   * added to what is redacted.
   *
   * @throws FlowgresError as of {@link Credentials.openVariables}
   */
  async join(
    { organizationId, properties, secretPlaces }: StepTask,
    redactor: Redactor,
  ): Promise<{ properties: StepTask['properties']; variables: OpenVariable[] }> {
    if (!secretPlaces) return { properties, variables: [] };
    const variables = await this.#credentials.openVariables(organizationId, secretNames(properties, secretPlaces));
    redactor.add(variables.map(({ value }) => value));
    const values = new Map(variables.map(({ name, value }) => [name, value]));
    return { properties: joinSecretTexts(properties, secretPlaces, values), variables };
  }

  /** The secrets are known to the redactor before a provider is asked, whose refusal may repeat them. */
  async #freshCredential(organizationId: string, name: string, redactor: Redactor): Promise<OpenCredential> {
    const credential = await this.#credentials.open({ organizationId, name });
    redactor.add(secretsOf(credential.type, credential.data));
    if (!this.#tokens) return credential;
    try {
      const fresh = await this.#tokens.of(credential);
      if (fresh !== credential) redactor.add(secretsOf(fresh.type, fresh.data));
      return fresh;
    } catch (error) {
      if (!(error instanceof FlowgresError) || error.code !== 'OAUTH2_UNAVAILABLE') throw error;
      throw new NodeError(error.code, error.message, { retryable: true, cause: error });
    }
  }

  async #flush(): Promise<void> {
    try {
      await this.#uses.flush();
    } catch (error) {
      this.#onProblem('Uses of credentials were not recorded.', error);
    }
  }
}

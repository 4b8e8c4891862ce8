/** The webhook endpoints of organizations, as deliverWebhook uses them. */
import type pg from 'pg';
import { z } from 'zod';
import type { Engine } from '../engine/engine.ts';
import { Statements } from '../engine/statements.ts';
import type { EndpointSource, WebhookTarget } from '../nodes/types.ts';
import { every } from '../scheduler/every.ts';
import type { Credentials } from '../vault/credentials.ts';

/** How often messages are handed to runs. */
const SEND_MS = 5_000;

const targetRow = z.object({ url: z.string(), credential_id: z.string() });
const hmacShape = z.object({ secrets: z.array(z.string()) });

/** Reads endpoints with the secrets that sign for them, and records attempts. */
export class WebhookEndpoints implements EndpointSource {
  readonly #statements: Statements;
  readonly #credentials: Credentials;

  /** @param pool made by createEnginePool, of flowgres_worker */
  constructor(pool: pg.Pool, credentials: Credentials) {
    this.#statements = new Statements(pool);
    this.#credentials = credentials;
  }

  /** Returns the endpoint; null when it is deleted or disabled. Errors as of {@link Credentials.open}. */
  async find(organizationId: string, endpoint: string): Promise<WebhookTarget | null> {
    const { rows } = await this.#statements.ask('webhook_target', 'select url, credential_id from engine.webhook_target($1, $2)', [
      organizationId,
      endpoint,
    ]);
    if (!rows[0]) return null;
    const { url, credential_id: id } = targetRow.parse(rows[0]);
    const { data } = await this.#credentials.open({ organizationId, id });
    return { url, secrets: hmacShape.parse(data).secrets };
  }

  /** Records whether the endpoint accepted a message. */
  async record(organizationId: string, endpoint: string, isAccepted: boolean, isGone: boolean): Promise<void> {
    await this.#statements.ask('record_webhook_attempt', 'select engine.record_webhook_attempt($1, $2, $3, $4)', [
      organizationId,
      endpoint,
      isAccepted,
      isGone,
    ]);
  }
}

/** Hands queued messages to runs from now on. */
export function sendWebhookEvents(
  engine: Pick<Engine, 'sendWebhookEvents'>,
  onProblem: (message: string, error: unknown) => void,
): { stop(): void } {
  return every(SEND_MS, () =>
    engine.sendWebhookEvents().catch((error: unknown) => onProblem('Messages for webhook endpoints were not sent.', error)),
  );
}

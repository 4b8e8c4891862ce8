/** The interface of effect nodes. A node is one file that exports an EffectNode, listed in registry.ts. */
import type { z } from 'zod';
import type { StepFailure } from '../engine/types.ts';
import { FlowgresError, reasonOf } from '../errors.ts';
import type { OpenCredential, OpenVariable } from '../vault/credentials.ts';

/** Settings of the installation that nodes use. */
export interface NodeConfig {
  /**
   * `host:port` pairs that httpRequest may reach although their addresses are private, for example
   * `127.0.0.1:8080`.
   */
  httpAllow: string[];
  /** Name servers for the hosts of httpRequest, as `address` or `address:port`; the machine's own when not given. */
  dnsServers?: string[];
  /** The webhook endpoints of organizations, for deliverWebhook; none can be told when not given. */
  endpoints?: EndpointSource;
}

/** Where a message is sent to, and the secrets that sign it. */
export interface WebhookTarget {
  url: string;
  secrets: readonly string[];
}

/** Finds webhook endpoints, and records attempts. */
export interface EndpointSource {
  /** Null when the endpoint is deleted or disabled. */
  find(organizationId: string, endpoint: string): Promise<WebhookTarget | null>;
  record(organizationId: string, endpoint: string, isAccepted: boolean, isGone: boolean): Promise<void>;
}

/** Severity of a line in the log of a run. */
export type LogLevel = 'debug' | 'info' | 'warning' | 'error';

/** The input of one attempt. */
export interface EffectContext<Properties> {
  /** The organization of the run. */
  organizationId: string;
  /** The properties with expressions evaluated. */
  properties: Properties;
  /** Output of the previous node. */
  input: unknown;
  /**
   * Aborts at the node's timeout, when the run was canceled, and when the process stops. Pass it to everything
   * that waits.
   */
  signal: AbortSignal;
  /** The same for every attempt of the step. Send it to the peer, so that a repeated request has no second effect. */
  idempotencyKey: string;
  /** Writes to the log of the run; resolves when the line is stored. Limits: docs/reference/security.md. */
  log(level: LogLevel, message: string, context?: Record<string, unknown>): Promise<void>;
  /** Replaces the secrets of the step in a text. Call it before cutting a text, or a part of a secret stays at the cut. */
  redact(text: string): string;
  /**
   * Waits until the process has memory for an answer of this many bytes, which the attempt holds until its
   * result is recorded. Call it once, before reading more than a few kilobytes: a waiting attempt must not hold
   * memory.
   */
  reserve(bytes: number): Promise<void>;
  /** The opened credentials by their slot. Pass them to the peer only: what they hold is redacted from everything else. */
  credentials: Record<string, OpenCredential>;
  /** The secret variables that are in the properties. Send them to the hosts that each allows, and nowhere else. */
  variables: readonly OpenVariable[];
  config: NodeConfig;
}

/** The result of a successful attempt. */
export interface EffectResult {
  /** The output port; the node's first port when not given. */
  port?: string;
  output: unknown;
}

/** A node that acts on other systems. */
export interface EffectNode<Properties = unknown> {
  /** Name and version, such as `httpRequest@1`. */
  type: string;
  /** Shape of the properties after expressions were evaluated. */
  properties: z.ZodType<Properties>;
  execute(context: EffectContext<Properties>): Promise<EffectResult>;
}

/** Further properties of a NodeError. */
export interface NodeErrorOptions {
  /** Whether another attempt may succeed; false when not given. */
  retryable?: boolean;
  /** The wait that the peer asked for, in milliseconds. */
  retryAfterMs?: number;
  details?: Record<string, unknown>;
  cause?: unknown;
}

/** A failed attempt, with a message for the run's log. */
export class NodeError extends FlowgresError {
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(code: string, message: string, options: NodeErrorOptions = {}) {
    const { retryable = false, retryAfterMs, ...rest } = options;
    super(code, message, rest);
    this.name = 'NodeError';
    this.retryable = retryable;
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * Returns any error of an attempt as the engine records it. An unexpected error is retryable: most are network
 * errors. Long messages are cut after `redact` has replaced secrets.
 */
export function describeFailure(error: unknown, redact: (text: string) => string = String): StepFailure {
  if (error instanceof NodeError) {
    return {
      code: error.code,
      message: error.message,
      retryable: error.retryable,
      ...(error.details ? { details: error.details } : {}),
      ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
    };
  }
  if (error instanceof FlowgresError) return { code: error.code, message: error.message, retryable: false };
  const message = redact(reasonOf(error));
  return { code: 'NODE_FAILED', message: message.slice(0, 1000), retryable: true };
}

/** What an effect node is: one file that exports an EffectNode, entered in registry.ts. */
import type { z } from 'zod';
import type { StepFailure } from '../engine/types.ts';
import { FlowgresError } from '../errors.ts';

/** Settings of this installation that nodes need. */
export interface NodeConfig {
  /** `host:port` pairs that httpRequest may reach although they are private, for example `127.0.0.1:8080`. */
  httpAllow: string[];
  /** Name servers for the hosts of httpRequest, `address` or `address:port`; those of the machine when not given. */
  dnsServers?: string[];
}

export type LogLevel = 'debug' | 'info' | 'warning' | 'error';

/** What one attempt gets. */
export interface EffectContext<Properties> {
  /** With the results of their expressions in place. */
  properties: Properties;
  /** Output of the node before. */
  input: unknown;
  /** Aborts at the node's timeout, when the run was canceled and when the process stops: pass it to everything that waits. */
  signal: AbortSignal;
  /** The same for every attempt of the step: send it to the peer, so that a repeated request does nothing twice. */
  idempotencyKey: string;
  /** Writes to the log of the run; resolves when it is stored. The log keeps so much: docs/reference/security.md. */
  log(level: LogLevel, message: string, context?: Record<string, unknown>): Promise<void>;
  /**
   * Waits until the process has memory for so many bytes of an answer, which the attempt then holds until its result is
   * recorded. Call it once, before reading more than a few kilobytes: who waits must hold nothing.
   */
  reserve(bytes: number): Promise<void>;
  /** Opened credentials by their name in the definition. */
  credentials: Record<string, unknown>;
  config: NodeConfig;
}

export interface EffectResult {
  /** The output port; the node's first when not given. */
  port?: string;
  output: unknown;
}

/** A node that touches the outside world. */
export interface EffectNode<Properties = unknown> {
  /** Name and version, such as `httpRequest@1`. */
  type: string;
  /** Shape of the properties after the expressions were evaluated. */
  properties: z.ZodType<Properties>;
  execute(context: EffectContext<Properties>): Promise<EffectResult>;
}

export interface NodeErrorOptions {
  /** Another attempt may succeed. False when not given. */
  retryable?: boolean;
  /** The peer asked to wait that long. */
  retryAfterMs?: number;
  details?: Record<string, unknown>;
  cause?: unknown;
}

/** An attempt that failed, in words for the run's log. */
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

/** Any error of an attempt as the engine records it. An unexpected one is retried: most are of the network. */
export function describeFailure(error: unknown): StepFailure {
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
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'NODE_FAILED', message: message.slice(0, 1000), retryable: true };
}

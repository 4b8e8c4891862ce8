/** Whose requests the connections of the API's pool work for: slow ones of an organization leave some for all others. */
import { LIMITS } from '../constants.ts';
import { FlowgresError } from '../errors.ts';
import { FairQueue, tooMany } from './fair_queue.ts';
import { networkOfAddress } from '../http/client.ts';
import { requestError } from '../http/errors.ts';

const CONNECTION_LIMITS = LIMITS.connections;

/** Runs statements when their caller has a share of the connections. */
export class ConnectionShare {
  readonly #queue: FairQueue;
  readonly #organizationOf: (session: string) => string | null;

  /**
   * @param size connections of the pool
   * @param organizationOf returns the organization of a session, null when it is not known
   */
  constructor(size: number, organizationOf: (session: string) => string | null, limits: { waiting: number } = CONNECTION_LIMITS) {
    const { reserved, waitMs: maxWaitMs } = CONNECTION_LIMITS;
    const total = size >= 2 * reserved ? size - reserved : size;
    this.#queue = new FairQueue({ total, maxWaiting: limits.waiting, maxWaitMs });
    this.#organizationOf = organizationOf;
  }

  /** Throws RATE_LIMITED (HTTP 429) when the caller already has as many waiting statements as allowed. */
  admit(session: string | null, clientIp: string): void {
    if (this.#queue.isFull(this.#keyOf(session, clientIp))) throw refusal(tooMany());
  }

  /**
   * Calls `work`, which uses one connection. The settings of the request identify the caller. Throws
   * RATE_LIMITED before `work` is called.
   */
  async use<T>(settings: Record<string, string | undefined>, work: () => Promise<T>): Promise<T> {
    let isEntered = false;
    const enter = () => {
      isEntered = true;
      return work();
    };
    const key = this.#keyOf(settings['flowgres.session'] || null, settings['flowgres.client_ip'] ?? '');
    return this.#queue.use(key, enter).catch((error: unknown) => {
      throw error instanceof FlowgresError && !isEntered ? refusal(error) : error;
    });
  }

  /** Returns the caller: an organization, a user without one, or the network of an anonymous request. */
  #keyOf(session: string | null, clientIp: string): string {
    if (session === null) return JSON.stringify(['network', networkOfAddress(clientIp)]);
    const organization = this.#organizationOf(session);
    return JSON.stringify(organization === null ? ['session', session] : ['organization', organization]);
  }
}

function refusal({ code, message, hint, details }: FlowgresError): Error {
  return requestError(429, code, message, { ...(hint && { hint }), ...(details && { details }) });
}

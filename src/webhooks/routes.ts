/** Which webhook an address belongs to, remembered for a second at most. */
import { LIMITS } from '../constants.ts';
import type { Engine, WebhookRoute } from '../engine/engine.ts';
import { FairQueue } from '../limits/fair_queue.ts';

const FRESH_MS = LIMITS.webhooks.routeMs;
const MAX_ENTRIES = 10_000;
/** Lookups at a time, of the ten connections that starts need too; one organization key has half of them. */
export const LOOKUPS = {
  total: LIMITS.webhooks.lookups,
  maxWaiting: LIMITS.webhooks.lookupsWaiting,
  maxWaitMs: LIMITS.webhooks.lookupWaitMs,
};

/**
 * Looks up an address at most once a second. A route may be a second older than the database, but a start is
 * not: it uses the version published at that time and refuses an unpublished workflow.
 */
export class WebhookRoutes {
  readonly #engine: Pick<Engine, 'findWebhook'>;
  readonly #lookups = new FairQueue(LOOKUPS);
  readonly #routes = new Map<string, { found: Promise<WebhookRoute | null>; until: number }>();

  constructor(engine: Pick<Engine, 'findWebhook'>) {
    this.#engine = engine;
  }

  /**
   * Returns the route; null when there is none, which is not cached, since the workflow may be published at any
   * time.
   *
   * @throws FlowgresError RATE_LIMITED when too many lookups of the organization key wait
   */
  async find(organizationKey: string, method: string, path: string): Promise<WebhookRoute | null> {
    const id = `${organizationKey} ${method} ${path}`;
    const known = this.#routes.get(id);
    if (known && known.until > performance.now()) return known.found;
    const found = this.#lookups.use(organizationKey, () => this.#engine.findWebhook(organizationKey, method, path));
    if (this.#routes.size >= MAX_ENTRIES) this.#routes.clear();
    this.#routes.set(id, { found, until: performance.now() + FRESH_MS });
    const forget = () => this.#routes.delete(id);
    found.then((route) => void (route?.workflowId || forget()), forget);
    return found;
  }
}

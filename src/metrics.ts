/** Prometheus metrics. Labels have few values each: never a tenant, a workflow or a path. */
import type { Pool } from 'pg';
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';

const registry = new Registry();
collectDefaultMetrics({ register: registry });

/** HTTP requests by route, method and status. */
export const httpRequests = new Counter({
  name: 'flowgres_http_requests_total',
  help: 'Answered HTTP requests.',
  labelNames: ['route', 'method', 'status'],
  registers: [registry],
});

/** Durations of HTTP requests by route, in seconds. */
export const httpSeconds = new Histogram({
  name: 'flowgres_http_request_seconds',
  help: 'Time to answer an HTTP request.',
  labelNames: ['route'],
  buckets: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30],
  registers: [registry],
});

/** Runs started by this process, by mode. */
export const runsStarted = new Counter({
  name: 'flowgres_runs_started_total',
  help: 'Runs that this process started.',
  labelNames: ['mode'],
  registers: [registry],
});

/** Attempts of steps by node type and outcome. */
export const steps = new Counter({
  name: 'flowgres_steps_total',
  help: 'Attempts of steps that this process made.',
  labelNames: ['type', 'outcome'],
  registers: [registry],
});

/** Durations of attempts by node type, in seconds. */
export const stepSeconds = new Histogram({
  name: 'flowgres_step_seconds',
  help: 'Time that an attempt of a step took.',
  labelNames: ['type'],
  buckets: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30],
  registers: [registry],
});

/** Exports the connections of a pool: used, idle, and requests that wait for one. */
export function watchPool(name: string, pool: Pool): void {
  pools.set(name, pool);
}

/** Exports a number that is read at each scrape, such as the depth of the queue. A failed read exports NaN. */
export function watchNumber(name: string, help: string, read: () => Promise<number>): void {
  registry.removeSingleMetric(name);
  new Gauge({
    name,
    help,
    registers: [registry],
    async collect() {
      try {
        this.set(await read());
      } catch {
        this.set(Number.NaN);
      }
    },
  });
}

const pools = new Map<string, Pool>();
new Gauge({
  name: 'flowgres_pool_connections',
  help: 'Database connections by pool and state; waiting counts requests without one.',
  labelNames: ['pool', 'state'],
  registers: [registry],
  collect() {
    this.reset();
    for (const [name, pool] of pools) {
      this.set({ pool: name, state: 'used' }, pool.totalCount - pool.idleCount);
      this.set({ pool: name, state: 'idle' }, pool.idleCount);
      this.set({ pool: name, state: 'waiting' }, pool.waitingCount);
    }
  },
});

/** Content type of {@link exposition}. */
export const { contentType } = registry;

/** Returns all metrics in Prometheus' text format. */
export function exposition(): Promise<string> {
  return registry.metrics();
}

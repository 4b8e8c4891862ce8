/** Fixtures for tests of nodes with child runs: workflows to call, a parent run with such a node, and its jobs. */
import { beforeEach } from 'vitest';
import { type TestDatabase, createTestDatabase } from './database.ts';
import { Driver } from './driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from './factory.ts';

/** A parent workflow and those that it calls. */
export interface RunTree {
  db: TestDatabase;
  acme: TestOrganization;
  engine: Driver;
  /** Starts a run whose node `all` has these properties. Resolves to its id. */
  start(properties: Record<string, unknown>, input: unknown, more?: Record<string, unknown>): Promise<string>;
  childrenOf(runId: string): Promise<{ id: string; status: string; parent_index: number }[]>;
  /** Executes the jobs of the parent's step until none is left. */
  drain(runId: string): Promise<void>;
}

/** Creates workflows whose parent starts child runs with a node of this type. */
export async function createRunTree(type: 'forEach' | 'repeat'): Promise<RunTree> {
  const db = await createTestDatabase();
  const acme = await createOrganization(db);
  const engine = new Driver(db);
  const called = { id: 'start', type: 'subworkflowTrigger' };
  const path = (value: string) => ({ id: 'out', type: 'transform', properties: { path: value } });
  const children = {
    double: path('$.prev * 2'),
    next: path('$.prev.n + 1'),
    echo: path('$.input'),
    number: { id: 'out', type: 'transform', properties: { template: '{{ $.prev | number }}' } },
    call: { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' } },
    count: { id: 'count', type: 'set', properties: { assign: { n: '{{ $.prev.n + 1 }}' } } },
  };
  for (const [name, node] of Object.entries(children)) await publishWorkflow(acme, chain(called, node), name);
  beforeEach(() => engine.freeze(null));

  return {
    db,
    acme,
    engine,
    async start(properties, input, more = {}) {
      const parent = chain({ id: 'start', type: 'apiTrigger' }, { id: 'all', type, properties, ...more });
      return (await engine.start(acme, await publishWorkflow(acme, parent), input)).run_id!;
    },
    async childrenOf(runId) {
      return (await db.admin.query('select * from workflow_runs where parent_run_id = $1 order by parent_index', [runId])).rows;
    },
    async drain(runId) {
      while ((await engine.jobs(runId)).length) {
        await db.admin.query(`delete from graphile_worker._private_jobs where payload ->> 'runId' = $1`, [runId]);
        await engine.begin(runId, 'all');
      }
    },
  };
}

/** What the client and the outside world remember, joined with what the database holds. The database is not its own witness. */
import type pg from 'pg';
import type { Call } from './target.ts';

export interface Verdict {
  runs: number;
  /** Keys that were accepted and have no run. */
  lost: string[];
  /** Keys with more than one run, in the database or in the client's log; runs that nobody asked for. */
  doubled: string[];
  /** Steps whose success is in the log although the world was never called for them. */
  invented: string[];
  /** Calls that were made after the success of their step had been recorded. */
  late: string[];
  /** Waits that ended before their time, and ticks of a schedule with more than one run. */
  mistimed: unknown[];
  /** Unfinished runs, broken rules, logs that do not replay. */
  broken: unknown[];
  statuses: Record<string, number>;
  /** How the runs ended whose step kills its worker. */
  poisoned: string[];
}

/** A call that set out before the record was written may arrive after it. */
const UNDER_WAY_MS = 2_500;

export async function verify(admin: pg.Pool, accepted: Map<string, Set<string>>, calls: Call[], nodes: string[]): Promise<Verdict> {
  const { rows: runs } = await admin.query<{ id: string; key: string; status: string }>(
    `select r.id, e.payload #>> '{input,body,key}' as key, coalesce(r.error ->> 'code', r.status) as status
     from workflow_runs as r join workflow_events as e on e.run_id = r.id and e.seq = 1
     where r.mode = 'webhook'`,
  );
  const stored = Map.groupBy(runs, ({ key }) => key);
  const { rows: successes } = await admin.query<{ key: string; at: Date }>(
    `select e.run_id || '/' || (e.payload ->> 'node') as key, e.ts as at from workflow_events as e
     where e.type = 'step.succeeded' and e.payload ->> 'node' = any ($1) and e.payload #>> '{output,error}' is null`,
    [nodes],
  );
  const last = new Map<string, number>();
  for (const { key, at } of calls) last.set(key, Math.max(at, last.get(key) ?? 0));
  const { rows: broken } = await admin.query('select * from monitor.invariants()');
  const { rows: replays } = await admin.query('select r.id, v.* from workflow_runs as r cross join engine.verify_run(r.id) as v');
  const { rows: mistimed } = await admin.query(
    `select w.run_id, w.payload ->> 'until' as until, e.ts
     from workflow_events as w join workflow_events as e on e.run_id = w.run_id
     where w.type = 'step.waiting' and w.payload ->> 'kind' = 'time' and e.type = 'step.succeeded'
       and e.payload ->> 'node' = w.payload ->> 'node' and e.ts < (w.payload ->> 'until')::timestamptz
     union all
     select min(r.id::text)::uuid, e.payload #>> '{input,scheduledAt}', min(e.ts)
     from workflow_runs as r join workflow_events as e on e.run_id = r.id and e.seq = 1
     where r.mode = 'schedule'
     group by r.workflow_id, e.payload #>> '{input,scheduledAt}'
     having count(*) > 1`,
  );
  const { rows: unfinished } = await admin.query('select id, status from workflow_runs where finished_at is null');
  const { rows: poisoned } = await admin.query<{ status: string }>(
    `select coalesce(error ->> 'code', status) as status from workflow_runs where mode = 'api'`,
  );
  return {
    runs: runs.length,
    lost: [...accepted].filter(([key, [run]]) => !stored.get(key)?.some(({ id }) => id === run)).map(([key]) => key),
    doubled: [
      ...[...accepted].filter(([, ids]) => ids.size > 1).map(([key]) => key),
      ...[...stored].filter(([key, found]) => found.length > 1 || !accepted.has(key)).map(([key]) => key),
    ],
    invented: successes.filter(({ key }) => !last.has(key)).map(({ key }) => key),
    late: successes.filter(({ key, at }) => (last.get(key) ?? 0) > at.getTime() + UNDER_WAY_MS).map(({ key }) => key),
    mistimed,
    broken: [...unfinished, ...broken, ...replays],
    statuses: Object.fromEntries([...Map.groupBy(runs, ({ status }) => status)].map(([status, of]) => [status, of.length])),
    poisoned: poisoned.map(({ status }) => status),
  };
}

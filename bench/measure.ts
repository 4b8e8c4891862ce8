/** Measurements of the benchmarks: rates, percentiles, and what the server writes. */
import type pg from 'pg';

/** One row of the report. */
export interface Result {
  /** What was measured. */
  name: string;
  /** Operations per second. */
  rate?: number;
  /** Median latency in milliseconds. */
  p50?: number;
  p95?: number;
  /** Bytes of WAL per operation. */
  wal?: number;
  /** Writing transactions per operation. */
  transactions?: number;
}

/** A row of the table, or a sentence below it: a comparison of rows, or why a case was not run. */
export type Outcome = Result | string;

/**
 * Runs `work` from `callers` callers for `seconds`, after a warm-up of a fifth of that. Each call counts as
 * `perCall` operations.
 */
export async function throughput(
  callers: number,
  seconds: number,
  work: (caller: number) => Promise<unknown>,
  perCall = 1,
): Promise<{ rate: number; p50: number; p95: number; operations: number }> {
  const latencies: number[] = [];
  const phase = async (until: number, record: boolean) => {
    await Promise.all(
      Array.from({ length: callers }, async (_, caller) => {
        while (performance.now() < until) {
          const startedAt = performance.now();
          await work(caller);
          if (record) latencies.push(performance.now() - startedAt);
        }
      }),
    );
  };
  await phase(performance.now() + seconds * 200, false);
  const startedAt = performance.now();
  await phase(startedAt + seconds * 1000, true);
  const elapsed = (performance.now() - startedAt) / 1000;
  const operations = latencies.length * perCall;
  return { rate: operations / elapsed, ...percentiles(latencies), operations };
}

/** Returns the median and the 95th percentile. */
export function percentiles(values: number[]): { p50: number; p95: number } {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { p50: at(0.5), p95: at(0.95) };
}

/** Measures what the server writes while `work` runs: bytes of WAL, and transactions with an id. */
export async function written<T>(
  client: pg.ClientBase | pg.Pool,
  work: () => Promise<T>,
): Promise<{ value: T; wal: number; transactions: number }> {
  const read = async () => {
    const { rows } = await client.query<{ wal: number; xid: number }>(
      `select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 as wal, pg_snapshot_xmax(pg_current_snapshot())::text::float8 as xid`,
    );
    return rows[0]!;
  };
  const before = await read();
  const value = await work();
  const after = await read();
  return { value, wal: after.wal - before.wal, transactions: after.xid - before.xid };
}

/** Formats a result as a line for docs/reference/benchmarks.md. */
export function tableRow({ name, rate, p50, p95, wal, transactions }: Result, limit: number | undefined): string {
  const cells = [
    name,
    rate === undefined ? '' : rate >= 100 ? Math.round(rate).toLocaleString('en-US') : rate.toFixed(1),
    rate === undefined || !limit ? '' : (rate / limit).toFixed(2),
    p50 === undefined ? '' : p50.toFixed(2),
    p95 === undefined ? '' : p95.toFixed(2),
    wal === undefined ? '' : (wal / 1024).toFixed(1),
    transactions === undefined ? '' : transactions.toFixed(2),
  ];
  return `| ${cells.join(' | ')} |`;
}

/** The head of the table. */
export const TABLE_HEAD = `| case | per second | × P | p50 ms | p95 ms | WAL kB each | transactions each |
|---|---|---|---|---|---|---|`;

/**
 * Measures what the BRIN index on `ts` saves a query for a time range within a month, and what it costs each
 * insert. Fills two tables like a partition of workflow_events, one without that index, alternately, so that
 * other load affects both. FLOWGRES_BENCH_RANGE_EVENTS (300,000) is the number of events in the month.
 */
import { z } from 'zod';
import { createPool } from '../../src/database/connections.ts';
import { type Outcome, percentiles } from '../measure.ts';
import type { BenchServer } from '../server.ts';

const EVENTS = Number(process.env['FLOWGRES_BENCH_RANGE_EVENTS'] ?? 300_000);
const BATCH = 5_000;
const RUN_EVENTS = 10;
const TABLES = { without: 'bench_range_plain', with: 'bench_range_brin' } as const;
const HOUR = `ts >= timestamptz '2026-01-20 12:00+00' and ts < timestamptz '2026-01-20 13:00+00'`;

const plan = z.array(z.object({ Plan: z.looseObject({ 'Shared Hit Blocks': z.number(), 'Shared Read Blocks': z.number() }) }));

/** Measures the index. */
export async function measureTimeRange({ adminUrl }: BenchServer): Promise<Outcome[]> {
  const pool = createPool(adminUrl, { name: 'bench', max: 1 });
  const client = await pool.connect();
  const cases = Object.keys(TABLES) as (keyof typeof TABLES)[];
  try {
    for (const name of Object.values(TABLES)) await client.query(`create table ${name} (like workflow_events including all)`);
    const { rows } = await client.query<{ index: string }>(
      `select i.indexrelid::regclass::text as index from pg_index as i join pg_class as c on c.oid = i.indexrelid
       join pg_am as a on a.oid = c.relam where i.indrelid = $1::regclass and a.amname = 'brin'`,
      [TABLES.without],
    );
    for (const { index } of rows) await client.query(`drop index ${index}`);
    const samples: Record<keyof typeof TABLES, number[]> = { without: [], with: [] };
    for (let first = 0; first < EVENTS; first += BATCH) {
      // Alternate which table goes first.
      for (const each of (first / BATCH) % 2 ? cases.toReversed() : cases) {
        const startedAt = performance.now();
        await client.query(insert(TABLES[each]), [first, first + BATCH - 1]);
        samples[each].push(performance.now() - startedAt);
      }
    }
    const buffers = {} as Record<keyof typeof TABLES, number>;
    for (const each of cases) {
      await client.query(`vacuum analyze ${TABLES[each]}`);
      const { rows: explained } = await client.query<{ 'QUERY PLAN': unknown }>(
        `explain (analyze, buffers, format json) select count(*) from ${TABLES[each]} where ${HOUR}`,
      );
      const { Plan } = plan.parse(explained[0]?.['QUERY PLAN'])[0]!;
      buffers[each] = Plan['Shared Hit Blocks'] + Plan['Shared Read Blocks'];
    }
    const median = { without: percentiles(samples.without).p50, with: percentiles(samples.with).p50 };
    const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
    return [
      { name: `insert of ${BATCH} events, without brin (ts)`, ...percentiles(samples.without) },
      { name: `insert of ${BATCH} events, with brin (ts)`, ...percentiles(samples.with) },
      `an hour of a month of ${EVENTS.toLocaleString('en-US')} events: ${buffers.with} buffers with brin (ts), ${buffers.without} without; ` +
        `an insert costs ${(median.with / median.without).toFixed(3)} × by the median of ${samples.with.length} batches, ` +
        `${(sum(samples.with) / sum(samples.without)).toFixed(3)} × in all`,
    ];
  } finally {
    for (const name of Object.values(TABLES)) await client.query(`drop table if exists ${name}`);
    client.release();
    await pool.end();
  }
}

/** The statement that inserts events $1 to $2 of January 2026, evenly spread, as runs of a few events each. */
function insert(table: string): string {
  return `insert into ${table} (organization_id, run_id, seq, ts, type, payload)
    select '01941f29-7c00-7000-8000-000000000001', engine.uuid_floor(timestamptz '2026-01-01+00' + i / ${RUN_EVENTS} * ${RUN_EVENTS} * step),
      1 + i % ${RUN_EVENTS}, timestamptz '2026-01-01+00' + i * step, 'step.succeeded',
      '{"node": "a", "attempt": 1, "port": "main", "output": {"total": 120}, "ms": 0}'
    from generate_series($1::int, $2::int) as i, (values (interval '31 days' / ${EVENTS})) as s (step)`;
}

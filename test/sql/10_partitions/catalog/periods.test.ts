/** Bounds and names of periods, in every time zone and for any span of time. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createTestDatabase } from '../../../helpers/database.ts';

const db = await createTestDatabase();

test.each([
  ['day', '2028-02-29 12:00+00', 'log_y2028m02d29', '2028-02-29', '2028-03-01'],
  ['week', '2026-11-21 00:00+00', 'log_y2026w47', '2026-11-16', '2026-11-23'],
  ['week', '2027-01-01 00:00+00', 'log_y2026w53', '2026-12-28', '2027-01-04'],
  ['month', '2026-12-31 23:59:59.999999+00', 'log_y2026m12', '2026-12-01', '2027-01-01'],
  ['month', '2026-11-30 23:30-02', 'log_y2026m12', '2026-12-01', '2027-01-01'],
  ['year', '2026-06-15 00:00+00', 'log_y2026', '2026-01-01', '2027-01-01'],
])('the %s of %s is %s', async (granularity, at, name, lower, upper) => {
  const { rows } = await db.admin.query(
    `select partitions.partition_name('log', $1, p) as name, lower(p) as lower, upper(p) as upper from partitions.period($1, $2) as p`,
    [granularity, at],
  );
  expect(rows).toEqual([{ name, lower: new Date(`${lower}T00:00:00Z`), upper: new Date(`${upper}T00:00:00Z`) }]);
});

const ZONES = ['UTC', 'America/New_York', 'Asia/Kolkata', 'Australia/Lord_Howe', 'Pacific/Apia'];

test.each(ZONES)('bounds are the same to the byte in a session of %s', async (zone) => {
  const client = await db.admin.connect();
  try {
    await client.query(`select set_config('timezone', $1, false), set_config('datestyle', 'German', false)`, [zone]);
    const { rows } = await client.query(
      `select partitions.values_clause(kind, partitions.period('month', timestamptz '2028-02-29 23:30+00')) as clause
       from unnest('{timestamptz,date,uuidv7}'::text[]) as kind`,
    );
    expect(rows.map(({ clause }) => clause)).toEqual([
      `for values from ('2028-02-01 00:00:00.000000+00') to ('2028-03-01 00:00:00.000000+00')`,
      `for values from ('2028-02-01') to ('2028-03-01')`,
      `for values from ('01aac5e2-2400-0000-0000-000000000000') to ('01ab5b3a-9000-0000-0000-000000000000')`,
    ]);
  } finally {
    client.release(true);
  }
});

describe('any span of time', () => {
  const day = fc.integer({ min: Date.UTC(1999, 11, 20) / 864e5, max: Date.UTC(2101, 1, 5) / 864e5 });

  test('is cut without a gap, an overlap or two pieces of one name', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('day', 'week', 'month', 'year'),
        day,
        fc.integer({ min: 1, max: 1500 }),
        async (granularity, from, days) => {
          const span = [new Date(from * 864e5).toISOString(), new Date((from + days) * 864e5).toISOString()];
          const { rows } = await db.admin.query(
            `select range_agg(piece) = tstzmultirange(tstzrange($2, $3)) as covers,
             sum(upper(piece) - lower(piece)) = timestamptz '1970-01-01 00:00+00' + make_interval(days => $4) - timestamptz '1970-01-01 00:00+00' as is_exact,
             count(distinct partitions.partition_name('log', $1, piece)) = count(*) as has_names,
             bool_and(piece <@ partitions.period($1, lower(piece))) as keeps_the_calendar
           from partitions.split($1, tstzrange($2, $3)) as piece`,
            [granularity, ...span, days],
          );
          expect(rows).toEqual([{ covers: true, is_exact: true, has_names: true, keeps_the_calendar: true }]);
        },
      ),
      { numRuns: 200 },
    );
  });
});

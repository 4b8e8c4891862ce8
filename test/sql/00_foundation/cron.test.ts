/** Schedules in pg_cron's notation, checked against a second implementation, croner. */
import { Cron } from 'croner';
import { describe, expect, test } from 'vitest';
import { createTestDatabase } from '../../helpers/database.ts';

const db = await createTestDatabase();

const accepts = async (schedule: string) =>
  (await db.admin.query<{ ok: boolean }>('select not (engine.parse_cron($1) is null) as ok', [schedule])).rows[0]!.ok;

describe('the grammar', () => {
  test.each([
    '* * * * *',
    '0,15-30,45-59/5 0-23/2 1,31 jan,MAR-dec sun,5-7',
    '\t 5 4 * * * ',
    '0 0 $ * *',
    '0 0 * * 7',
    '* * * * * and more',
    '1;x * * * *',
    '*5 * * * *',
    '@reboot',
    '@restart',
    '@yearly',
    '@annually',
    '@monthly',
    '@weekly',
    '@daily',
    '@midnight',
    '@hourly',
    '1 second',
    ' 30 sEcOnDs ',
    '59 seconds',
  ])('takes %j', async (schedule) => expect(await accepts(schedule)).toBe(true));

  test.each([
    '',
    '* * * *',
    '60 * * * *',
    '* 24 * * *',
    '* * 0 * *',
    '* * 32 * *',
    '* * * 13 *',
    '* * * * 8',
    '1/20 * * * *',
    '5-1 * * * *',
    '*/0 * * * *',
    '*/60 * * * *',
    '1, * * * *',
    'x * * * *',
    '1a * * * *',
    'jan * * * *',
    '0 0 $x * *',
    '-1 * * * *',
    '@Hourly',
    '@never',
    '0 seconds',
    '60 seconds',
    '5 secondc',
    '50 seconds c',
    '*\n* * * *',
    `* * * * *${' '.repeat(991)}`,
  ])('refuses %j', async (schedule) => expect(await accepts(schedule)).toBe(false));

  test.each([
    ['0 0 31 2 *', 'never comes'],
    ['0 0 30 feb *', 'never comes'],
    ['60 * * * *', 'is not a schedule'],
    ['@reboot', 'is not a schedule'],
    ['* * * * * *', 'would be ignored'],
    ['*5 * * * *', 'would be ignored'],
    ['1-5-9 * * * *', 'would be ignored'],
  ])('has a word for people who write %j', async (schedule, problem) => {
    const { rows } = await db.admin.query<{ problem: string }>('select engine.strict_cron_problem($1) as problem', [schedule]);
    expect(rows[0]!.problem).toContain(problem);
  });
});

/** The runs after a time, as times in UTC. */
async function runs(schedule: string, timezone: string, after: string, count: number): Promise<string[]> {
  const { rows } = await db.admin.query<{ at: Date }>(
    `with recursive runs as (
       select 1 as number, engine.next_cron_run(engine.parse_cron($1), $3, $2) as at
       union all select number + 1, engine.next_cron_run(engine.parse_cron($1), at, $2) from runs where number < $4
     ) select at from runs`,
    [schedule, timezone, after, count],
  );
  return rows.map(({ at }) => at.toISOString().slice(0, 16));
}

describe('a fixed time', () => {
  test('that the clock is put forward over runs right after the gap, once', async () => {
    expect(await runs('30 2 * * *', 'Europe/Berlin', '2026-03-28T00:00Z', 3)).toEqual([
      '2026-03-28T01:30',
      '2026-03-29T01:00',
      '2026-03-30T00:30',
    ]);
    expect(await runs('10,50 2 29 3 *', 'Europe/Berlin', '2026-01-01T00:00Z', 2)).toEqual(['2026-03-29T01:00', '2027-03-29T00:10']);
  });

  test('that comes twice runs the first time', async () => {
    expect(await runs('30 2 * * *', 'Europe/Berlin', '2026-10-24T12:00Z', 2)).toEqual(['2026-10-25T00:30', '2026-10-26T01:30']);
    expect(await runs('0,45 1-4 * * *', 'America/New_York', '2026-11-01T05:52Z', 1)).toEqual(['2026-11-01T07:00']);
  });

  test('at a midnight that does not exist runs when the day begins', async () => {
    expect(await runs('0 0 * * *', 'Africa/Cairo', '2026-04-23T12:00Z', 2)).toEqual(['2026-04-23T22:00', '2026-04-24T21:00']);
  });

  test('moves with a clock that is put by half an hour', async () => {
    expect(await runs('15 2 * * *', 'Australia/Lord_Howe', '2026-10-03T12:00Z', 2)).toEqual(['2026-10-03T15:30', '2026-10-04T15:15']);
  });
});

describe('a schedule by real time', () => {
  test('leaves a gap out and runs in the repeated hour again', async () => {
    expect(await runs('30 * * * *', 'Europe/Berlin', '2026-03-29T00:00Z', 2)).toEqual(['2026-03-29T00:30', '2026-03-29T01:30']);
    expect(await runs('*/30 2 * * *', 'Europe/Berlin', '2026-03-28T12:00Z', 1)).toEqual(['2026-03-30T00:00']);
    expect(await runs('30 * * * *', 'Europe/Berlin', '2026-10-24T23:45Z', 3)).toEqual([
      '2026-10-25T00:30',
      '2026-10-25T01:30',
      '2026-10-25T02:30',
    ]);
  });
});

test('the ends of months and years, and leap years', async () => {
  expect(await runs('59 23 31 12 *', 'UTC', '2026-12-31T23:58:30Z', 2)).toEqual(['2026-12-31T23:59', '2027-12-31T23:59']);
  expect(await runs('* * * * *', 'UTC', '2026-12-31T23:59:30Z', 1)).toEqual(['2027-01-01T00:00']);
  expect(await runs('0 0 31 * *', 'UTC', '2027-01-31T00:00Z', 3)).toEqual(['2027-03-31T00:00', '2027-05-31T00:00', '2027-07-31T00:00']);
  expect(await runs('0 0 $ * *', 'UTC', '2028-01-31T00:00Z', 3)).toEqual(['2028-02-29T00:00', '2028-03-31T00:00', '2028-04-30T00:00']);
  expect(await runs('0 0 29 2 *', 'UTC', '2096-02-29T00:00Z', 1)).toEqual(['2104-02-29T00:00']);
  expect(await runs('@yearly', 'UTC', '2026-11-21T00:00Z', 2)).toEqual(['2027-01-01T00:00', '2028-01-01T00:00']);
  expect(await runs('0 0 13 * fri', 'UTC', '2026-11-11T00:00Z', 3)).toEqual(['2026-11-13T00:00', '2026-11-20T00:00', '2026-11-27T00:00']);
});

test('10,000 random schedules run when croner says, but for the hours in which clocks change', async () => {
  const random = generator(20_261_121);
  const cases = Array.from({ length: 10_000 }, () => randomCase(random));
  const { rows } = await db.admin.query<{ at: Date | null; is_calm: boolean }>(
    `select at, engine.offset_seconds(at - interval '1 day', c ->> 'timezone') = engine.offset_seconds(at + interval '1 day', c ->> 'timezone') as is_calm
     from jsonb_array_elements($1) with ordinality as e (c, place)
     cross join lateral engine.next_cron_run(engine.parse_cron(c ->> 'schedule'), (c ->> 'after')::timestamptz, c ->> 'timezone') as at
     order by place`,
    [JSON.stringify(cases)],
  );
  const different = cases.flatMap(({ schedule, timezone, after }, index) => {
    const { at, is_calm } = rows[index]!;
    const theirs = new Cron(schedule.replace('$', 'L'), { timezone }).nextRun(after);
    const same = at?.getTime() === theirs?.getTime();
    // croner never runs after a gap, and runs a fixed time twice.
    return same || (at !== null && !is_calm)
      ? []
      : [`${schedule} ${timezone} after ${after}: ${at?.toISOString()}, croner ${theirs?.toISOString()}`];
  });
  expect(different).toEqual([]);
});

type Random = (below: number) => number;

function generator(seed: number): Random {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const ZONES = ['UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kolkata', 'Pacific/Apia'];

function randomCase(random: Random): { schedule: string; timezone: string; after: string } {
  const stepped = (high: number, low: number, stars: number) => (random(4) ? field(random, low, high, stars) : `*/${1 + random(high)}`);
  const day = random(20) ? field(random, 1, 31, 40) : '$';
  const schedule = [stepped(59, 0, 20), stepped(23, 0, 30), day, field(random, 1, 12, 50), field(random, 0, 6, 50)].join(' ');
  const after = new Date(Date.UTC(2020 + random(15), random(12), 1 + random(28), random(24), random(60), random(60))).toISOString();
  return { schedule, timezone: ZONES[random(ZONES.length)]!, after };
}

function field(random: Random, low: number, high: number, stars: number): string {
  if (random(100) < stars) return '*';
  const range = () => {
    const from = low + random(high - low + 1);
    const to = from + random(high - from + 1);
    return [`${from}`, `${from}-${to}`, `${from}-${to}/${1 + random(high)}`][random(3)];
  };
  return Array.from({ length: 1 + random(3) }, range).join(',');
}

/** Dates: one rule for hours that come twice or never, round trips over many zones and times, and what a zone is. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createTestDatabase } from '../../../helpers/database.ts';
import { evaluate, failureOf, runNode, validate } from '../../../helpers/nodes.ts';

const db = await createTestDatabase();
const CASES = 400;
const HOUR_MS = 3_600_000;

/** Where clocks were put back or forward: by an hour, half of one, two, a day; at midnight; in long-gone offsets. */
const CHANGES: [zone: string, at: string][] = [
  ['Europe/Berlin', '2026-03-29T01:00:00Z'],
  ['Europe/Berlin', '2026-10-25T01:00:00Z'],
  ['America/New_York', '2026-11-01T06:00:00Z'],
  ['Australia/Lord_Howe', '2026-04-04T15:00:00Z'],
  ['Antarctica/Troll', '2026-10-25T01:00:00Z'],
  ['America/Sao_Paulo', '2018-02-18T02:00:00Z'],
  ['America/Sao_Paulo', '2018-11-04T03:00:00Z'],
  ['America/Havana', '2026-11-01T05:00:00Z'],
  ['Africa/Casablanca', '2026-02-15T02:00:00Z'],
  ['Pacific/Apia', '2011-12-30T10:00:00Z'],
  ['Pacific/Kwajalein', '1969-09-30T13:00:00Z'],
  ['Europe/Paris', '1911-03-10T23:50:39Z'],
  ['Europe/Amsterdam', '1937-06-30T23:40:28Z'],
  ['Africa/Monrovia', '1972-01-07T00:44:30Z'],
];
const ZONES = [...new Set(CHANGES.map(([zone]) => zone)), 'UTC', 'Asia/Kathmandu', 'Etc/GMT-14', 'america/los_angeles'];

const anywhere = fc.tuple(fc.constantFrom(...ZONES), fc.integer({ min: Date.parse('1890-01-01'), max: Date.parse('2090-01-01') }));
const nearAChange = fc
  .tuple(fc.constantFrom(...CHANGES), fc.integer({ min: -100, max: 100 }))
  .map(([[zone, at], quarters]): [string, number] => [zone, Date.parse(at) + (quarters * HOUR_MS) / 4]);
const moment = fc.oneof(anywhere, nearAChange, nearAChange).map(([zone, at]) => ({ zone, at: new Date(at).toISOString() }));
const unit = fc.constantFrom('milliseconds', 'seconds', 'minutes', 'hours', 'days', 'weeks', 'months', 'years');
const span = fc.record({ unit, amount: fc.oneof(fc.integer({ min: -3, max: 3 }), fc.integer({ min: -500, max: 500 })) });

/** The cases of an arbitrary for which `query`, over rows `c` of type jsonb, gives a row. */
async function exceptions(cases: fc.Arbitrary<object>, query: string): Promise<unknown[]> {
  const samples = fc.sample(cases, CASES);
  return (await db.admin.query(`with cases as (select value as c from jsonb_array_elements($1)) ${query}`, [JSON.stringify(samples)])).rows;
}

describe('for any time in any zone', () => {
  test('what is added is the difference', async () => {
    const cases = fc.tuple(moment, span).map(([at, by]) => ({ ...at, ...by }));
    expect(
      await exceptions(
        cases,
        `select c, later, difference from cases
         cross join lateral engine.filter_add(c -> 'at', (c ->> 'amount')::int, c ->> 'unit', c ->> 'zone') as later
         cross join lateral engine.filter_diff(later, c -> 'at', c ->> 'unit', c ->> 'zone') as difference
         where difference is distinct from c -> 'amount'
           -- Apia had no 30 December 2011: one day and two days after the 29th are the same time.
           and engine.filter_add(c -> 'at', (difference #>> '{}')::int, c ->> 'unit', c ->> 'zone') is distinct from later`,
      ),
    ).toEqual([]);
  });

  test.each([null, 'YYYY-MM-DD"T"HH24:MI:SS.MSOF'])('the text by template %j is the same instant', async (template) => {
    const text = `engine.filter_date(c -> 'at', c ->> 'zone', ${template ? `'${template}'` : 'null'})`;
    expect(
      await exceptions(
        moment,
        `select c, written, read from cases
         cross join lateral ${text} as written
         cross join lateral engine.filter_date(written, 'UTC', null) as read
         where read is distinct from c -> 'at'`,
      ),
    ).toEqual([]);
  });

  test('a text without an offset is the first moment that shows it, or one past the gap that leaves it out', async () => {
    expect(
      await exceptions(
        moment,
        `select c, local, instant from cases
         cross join lateral (select (c ->> 'at')::timestamptz at time zone 'UTC' as local) as l
         cross join lateral engine.parse_instant(to_jsonb(local), c ->> 'zone') as instant
         cross join lateral (select instant at time zone (c ->> 'zone') as shown) as s
         where shown < local
           or shown > local and exists (
             select from generate_series(instant - interval '26 hours', instant + interval '26 hours', interval '15 minutes') as t
             where t at time zone (c ->> 'zone') = local
           )
           or exists (
             select from generate_series(instant - interval '26 hours', instant - interval '15 minutes', interval '15 minutes') as t
             where t at time zone (c ->> 'zone') = local
           )`,
      ),
    ).toEqual([]);
  });
});

describe('the hour that comes twice, 02:30 on 25 October 2026 in Berlin', () => {
  const FIRST = '2026-10-25T02:30:00.000+02:00';
  const SECOND = '2026-10-25T02:30:00.000+01:00';

  test.each([
    ['a text', '2026-10-25T02:30', 'date("Europe/Berlin")', FIRST],
    ['adding a day', '2026-10-24T02:30', 'add(1, "days", "Europe/Berlin")', FIRST],
    ['going back a week', '2026-11-01T02:30', 'add(-1, "weeks", "Europe/Berlin")', FIRST],
    ['adding nothing to the first', FIRST, 'add(0, "days", "Europe/Berlin")', FIRST],
    ['adding nothing to the second', SECOND, 'add(0, "months", "Europe/Berlin")', SECOND],
    ['adding an hour', FIRST, 'add(1, "hours", "Europe/Berlin")', SECOND],
    ['a gap', '2026-03-29T02:30', 'date("Europe/Berlin")', '2026-03-29T03:30:00.000+02:00'],
  ])('%s', async (_, prev, filter, expected) => {
    expect(await evaluate(db, `{{ $.prev | ${filter} }}`, { prev })).toBe(expected);
  });

  test('is the same for waits, for cron and for every', async () => {
    const { rows } = await db.admin.query(`
      select to_jsonb(t) #>> '{}' as at
      from unnest(array[
        engine.wait_until('time', '{"until": "2026-10-25T02:30", "timezone": "Europe/Berlin"}', '2026-10-01'),
        engine.next_tick('{"cron": "30 2 25 10 *", "timezone": "Europe/Berlin"}', '2026-10-01'),
        engine.next_tick('{"every": {"n": 1, "unit": "days"}, "timezone": "America/Havana"}', '2026-11-01 00:00-04')
      ]) as t`);
    expect(rows.map(({ at }) => new Date(String(at)).toISOString())).toEqual([
      '2026-10-25T00:30:00.000Z',
      '2026-10-25T00:30:00.000Z',
      // Midnight of the second of November: that of the first came twice.
      '2026-11-02T05:00:00.000Z',
    ]);
  });
});

test.each([
  ['2026-01-31', 'months', '2026-02-28T00:00:00.000Z'],
  ['2024-02-29', 'years', '2025-02-28T00:00:00.000Z'],
  ['2026-03-31', 'months', '2026-04-30T00:00:00.000Z'],
  ['2026-05-15', 'months', '2026-06-15T00:00:00.000Z'],
])('%s and one of %s is %s, and one of them later', async (prev, name, expected) => {
  expect(await evaluate(db, `{{ $.prev | add(1, "${name}", "UTC") }}`, { prev })).toBe(expected);
  expect(await evaluate(db, `{{ $.prev | add(1, "${name}", "UTC") | diff($.prev, "${name}", "UTC") }}`, { prev })).toBe(1);
});

test.each([
  ['Europe/Berlin', 'YYYY-MM-DD HH24:MI OF', '2026-07-01 12:00 +02'],
  ['Europe/Berlin', 'HH24:MITZH:TZM', '12:00+02:00'],
  ['America/St_Johns', 'OF tzh TZM', '-02:30 -02 30'],
  ['Asia/Kathmandu', 'FMHH24 OF', '15 +05:45'],
  ['UTC', '"OF TZH" OF \\"', '"OF TZH" +00 "'],
])('in %s the template %s gives %s', async (zone, template, expected) => {
  const { rows } = await db.admin.query(`select engine.filter_date('"2026-07-01T10:00:00Z"', $1, $2) #>> '{}' as text`, [zone, template]);
  // A quoted text of to_char loses its quotes.
  expect(rows[0]!['text']).toBe(expected.replace('"OF TZH"', 'OF TZH'));
});

test('a template with an abbreviation of the zone is refused', async () => {
  const { rows } = await db.admin.query(`select engine.filter_date('"2026-07-01T10:00:00Z"', 'Europe/Berlin', 'HH24 TZ') as text`);
  expect(rows).toEqual([{ text: null }]);
});

describe('a date compared with a time of a zone', () => {
  const MIXED = '$.prev.d.datetime() < "2026-06-01T00:00:00+00:00".datetime()';
  const context = { prev: { d: '2026-01-01' } };

  test('is false in a lenient condition', async () => {
    expect(await runNode(db, { id: 'one', type: 'if', properties: { when: MIXED } }, context)).toMatchObject({ port: 'false' });
    const filter = { items: '{{ $.prev }}', when: MIXED.replace('$.prev', '$.item') };
    expect(
      (await runNode(db, { id: 'one', type: 'filter', properties: filter }, { prev: [{ d: '2026-01-01' }] })).properties,
    ).toMatchObject({
      when: [false],
    });
  });

  test('fails a strict one with a code', async () => {
    const strict = runNode(db, { id: 'one', type: 'if', strict: true, properties: { when: MIXED } }, context);
    expect(await failureOf(strict)).toMatchObject({ detail: { code: 'EXPRESSION_FAILED' } });
  });

  test('two dates are compared', async () => {
    const when = '$.prev.d.datetime() < "2026-06-01".datetime()';
    expect(await runNode(db, { id: 'one', type: 'if', properties: { when } }, context)).toMatchObject({ port: 'true' });
  });
});

describe('a time zone', () => {
  test('is each name of the IANA database, in any case; not what PostgreSQL reads otherwise', async () => {
    const { rows } = await db.admin.query(`
      select name from pg_timezone_names
      where name !~ '^(posix|right)/' and not (engine.is_time_zone(name) and engine.is_time_zone(lower(name)))
      order by name collate "C"`);
    expect(rows.map(({ name }) => name).filter((name) => !['Factory', 'localtime', 'posixrules'].includes(name))).toEqual([
      'CET',
      'EET',
      'MET',
      'WET',
    ]);
  });

  test.each([
    'IST',
    'BST',
    'CST',
    'AMST',
    'Etc/UTC+3',
    'Europe/Berln+2',
    'Europe/Berln',
    '+02:00',
    'posix/UTC',
    'Etc/GMT-15',
    'CET',
    '',
    ' UTC',
  ])('is not %j, wherever one is asked for', async (zone) => {
    const definition = (node: object, settings = {}) => ({
      nodes: [{ id: 'start', type: 'apiTrigger' }, node],
      connections: [{ source: 'start', target: 'one' }],
      settings,
    });
    const transform = { id: 'one', type: 'transform', properties: { template: `{{ "2026-07-01T00:00:00Z" | date("${zone}") }}` } };
    const wait = { id: 'one', type: 'wait', properties: { until: '2030-01-01T00:00', timezone: zone } };
    const schedule = {
      nodes: [{ id: 'start', type: 'scheduleTrigger', properties: { cron: '@daily', timezone: zone } }],
      connections: [],
    };
    const problems = [
      await validate(db, definition(transform)),
      await validate(db, definition(wait)),
      await validate(db, definition({ id: 'one', type: 'noOp' }, { timezone: zone })),
      await validate(db, schedule),
    ];
    expect(problems.map(({ length }) => length > 0)).toEqual([true, true, true, true]);
  });
});

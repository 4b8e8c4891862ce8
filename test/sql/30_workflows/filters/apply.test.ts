/** Filters of expressions: arguments, values, and independence from the session's settings. */
import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { evaluate, failureOf } from '../../../helpers/nodes.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});

const FAILS = Symbol('fails');

test.each<[filter: string, given: unknown, value: unknown]>([
  ['upper', 'Ada é', 'ADA É'],
  ['lower', true, 'true'],
  ['upper', [1], FAILS],
  ['trim', ' \n x\t', 'x'],
  ['replace("", "x")', 'abc', 'abc'],
  ['replace("a", "\\"")', 'banana', 'b"n"n"'],
  ['split(",")', '', []],
  ['split("")', 'ab', ['a', 'b']],
  ['split(",")', { a: 1 }, FAILS],
  ['join', ['a', 1, null, [2]], 'a,1,,[2]'],
  ['join("; ")', 'alone', 'alone'],
  ['slice(0, 2)', [1, 2, 3], [1, 2]],
  ['slice(-2)', [1, 2, 3], [2, 3]],
  ['slice(2, 1)', 'abc', ''],
  ['slice(-99, 99)', 'abc', 'abc'],
  ['slice(5)', [1], []],
  ['slice(1)', { a: 1 }, FAILS],
  ['pad(5, "ab")', 'x', 'ababx'],
  ['pad(3, " ", "right")', 'x', 'x  '],
  ['pad(1)', 'long', 'long'],
  ['pad(3, " ", "middle")', 'x', FAILS],
  ['pad(999999999)', 'x', FAILS],
  ['urlencode', 'a&b=ü€😀/~', 'a%26b%3D%C3%BC%E2%82%AC%F0%9F%98%80%2F~'],
  ['urlencode', '', ''],
  ['base64', 'ü'.repeat(60), Buffer.from('ü'.repeat(60)).toString('base64')],
  ['base64("decode")', 'w7w=', 'ü'],
  ['base64("decode")', '/w==', FAILS],
  ['base64("decode")', '***', FAILS],
  ['base64("rot13")', 'x', FAILS],
  ['hash', 'abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
  ['hash("sha512") | length', 'abc', 128],
  ['hash("crc")', 'abc', FAILS],
  ['constant_time_equals("abc")', 'abc', true],
  ['constant_time_equals("abd")', 'abc', false],
  ['constant_time_equals("1.5")', 1.5, true],
  ['constant_time_equals("abc")', ['abc'], false],
  ['constant_time_equals("abc")', null, false],
  ['title', "o'neil  mary-JANE é", "O'neil  Mary-Jane É"],
  ['title', '', ''],
  ['title', [1], FAILS],
  ['contains("an")', 'banana', true],
  ['contains("")', 'banana', true],
  ['contains({"a": [1]})', [{ a: [1] }], true],
  ['contains("a")', ['ab'], false],
  ['contains("a")', { a: null }, true],
  ['contains([])', 'x', FAILS],
  ['starts_with("A")', 'ada', false],
  ['ends_with("")', 'ada', true],
  ['ends_with("ada lovelace")', 'ada', false],
  ['match("b+")', 'abbc', 'bb'],
  ['match("(a)(x)?")', 'abc', ['a', null]],
  ['match("B", "i")', 'abc', 'b'],
  ['match("B")', 'abc', null],
  ['match("a", "x")', 'abc', FAILS],
  ['match("a")', { a: 1 }, FAILS],
  ['parse_json', '{"a": [1, 2.50]}', { a: [1, 2.5] }],
  ['parse_json', '', FAILS],
  ['parse_json', '{"a": 1e999}', FAILS],
  ['parse_json', [1], FAILS],
  ['format_number', 1234567.5, '1,234,568'],
  ['format_number(2)', -1234.5, '-1,234.50'],
  ['format_number(3, ",", " ")', '999999.9999', '1 000 000,000'],
  ['format_number(2)', 0.005, '0.01'],
  ['format_number(21)', 1, FAILS],
  ['format_number', 'x', FAILS],
  ['uuid_from', 'a', '7341c0cf-8db1-8794-a038-5eb6b72c9d00'],
  ['uuid_from("orders") | length', 7, 36],
  ['uuid_from', [1], FAILS],
  ['number', ' -1.50e2 ', -150],
  ['number', '.5', 0.5],
  ['number', true, 1],
  ['number', 'NaN', FAILS],
  ['number', 'Infinity', FAILS],
  ['number', '0x10', FAILS],
  ['number', '1e999', FAILS],
  ['number', '', FAILS],
  ['round', '2.5', 3],
  ['round(-2)', 1250, 1300],
  ['round', 'x', FAILS],
  ['min', [3, 1, 2], 1],
  ['max', ['b', 'a'], 'b'],
  ['max', [], null],
  ['min', [1, 'a'], FAILS],
  ['max', 7, 7],
  ['sum', [0.1, 0.2], 0.3],
  ['sum', [], 0],
  ['sum', ['1'], FAILS],
  ['date("UTC")', '2026-11-21', '2026-11-21T00:00:00.000Z'],
  ['date("Europe/Berlin")', '2026-07-01 12:00', '2026-07-01T12:00:00.000+02:00'],
  ['date("America/New_York")', '2026-11-21T10:30:00.123+01:00', '2026-11-21T04:30:00.123-05:00'],
  ['date("Asia/Kolkata")', 0, '1970-01-01T05:30:00.000+05:30'],
  ['date("UTC", "FMDay, DD FMMonth YYYY")', '2026-11-21', 'Saturday, 21 November 2026'],
  ['date("UTC", "TMMonth")', '2026-11-21', FAILS],
  ['date("UTC")', '2026-13-01', FAILS],
  ['date("UTC")', '2026-02-30', FAILS],
  ['date("UTC")', 'tomorrow', FAILS],
  ['date("UTC")', 'infinity', FAILS],
  ['date("UTC")', 1e300, FAILS],
  ['date("UTC")', true, FAILS],
  ['local_date("America/New_York")', '2026-11-21T03:00:00Z', '2026-11-20'],
  ['local_date("UTC")', 'x', FAILS],
  ['parse_date("MM/DD/YYYY", "America/New_York")', ' 7/4/2026 ', '2026-07-04T00:00:00.000-04:00'],
  ['parse_date("YYYYMMDD", "UTC")', '20261121', '2026-11-21T00:00:00.000Z'],
  ['parse_date("DD.MM.YYYY HH24:MI:SS", "UTC")', '01.02.2026 03:04:05', '2026-02-01T03:04:05.000Z'],
  ['parse_date("DD.MM.YYYY", "UTC")', '31.02.2026', FAILS],
  ['parse_date("DD.MM.YYYY", "UTC")', '01-02-2026', FAILS],
  ['parse_date("DD.MM", "UTC")', '01.02', FAILS],
  ['start_of("weeks", "Europe/Berlin")', '2026-11-22T22:59:00Z', '2026-11-16T00:00:00.000+01:00'],
  ['start_of("days", "Europe/Berlin")', '2026-03-29T10:00:00Z', '2026-03-29T00:00:00.000+01:00'],
  ['start_of("hours", "Asia/Kolkata")', '2026-11-21T10:45:30Z', '2026-11-21T16:00:00.000+05:30'],
  ['start_of("years", "UTC")', '2026-11-21', '2026-01-01T00:00:00.000Z'],
  ['start_of("days", "UTC")', 'x', FAILS],
  ['add(1, "days", "Europe/Berlin")', '2026-03-28T12:00', '2026-03-29T12:00:00.000+02:00'],
  ['add(24, "hours", "Europe/Berlin")', '2026-03-28T12:00', '2026-03-29T13:00:00.000+02:00'],
  ['add(-1, "months", "UTC")', '2026-03-31', '2026-02-28T00:00:00.000Z'],
  ['add(250, "milliseconds", "UTC")', '2026-03-31T00:00Z', '2026-03-31T00:00:00.250Z'],
  ['add(999999999, "years", "UTC")', '2026-03-31', FAILS],
  ['add(9000, "years", "UTC")', '2026-03-31', FAILS],
  ['diff("2026-11-01", "days", "UTC")', '2026-10-31', -1],
  ['diff("2026-03-28T12:00", "days", "Europe/Berlin")', '2026-03-29T12:00', 1],
  ['diff("2026-03-28T12:00", "hours", "Europe/Berlin")', '2026-03-29T12:00', 23],
  ['diff("2024-02-29", "years", "UTC")', '2026-02-28', 2],
  ['diff("2024-02-29", "years", "UTC")', '2026-02-27', 1],
  ['diff("2025-11-30", "months", "UTC")', '2026-11-21', 11],
  ['diff("never", "days", "UTC")', '2026-11-21', FAILS],
  ['default("x")', null, 'x'],
  ['default("x")', false, false],
  ['default("x")', '', ''],
  ['json', { a: [1, 'ä'] }, '{"a": [1, "ä"]}'],
  ['json', null, 'null'],
  ['length', 'ä😀', 2],
  ['length', [1, 2], 2],
  ['length', { a: 1 }, 1],
  ['length', null, 0],
  ['length', 12, FAILS],
  ['keys', { b: 1, a: 2 }, ['a', 'b']],
  ['keys', [1], FAILS],
  ['first', [], null],
  ['first', 'x', 'x'],
  ['last', [1, 2], 2],
  ['unique', [2, 1, 2, 1.0, '1', null, null], [2, 1, '1', null]],
  ['sort', [2, 10, 1], [1, 2, 10]],
  ['sort(null, "desc")', ['a', 'b'], ['b', 'a']],
  ['sort("n", "desc")', [{ n: 1 }, {}, { n: 2 }], [{ n: 2 }, { n: 1 }, {}]],
  ['sort("n", "up")', [1], FAILS],
  ['flatten', [1, [2, [3]], []], [1, 2, [3]]],
  ['flatten(64)', [1, [2, [3]], { a: [4] }], [1, 2, 3, { a: [4] }]],
  ['flatten(0)', [[1]], FAILS],
  ['type', null, 'null'],
  ['type', [], 'array'],
  ['upper', null, null],
  ['sum', null, null],
  ['date("UTC")', null, null],
])('%s of %j', async (filter, given, value) => {
  const evaluated = evaluate(db, `{{ $.prev | ${filter} }}`, { prev: given });
  if (value !== FAILS) return expect(await evaluated).toEqual(value);
  expect(await failureOf(evaluated)).toMatchObject({ sqlstate: 'WF012', detail: { code: 'EXPRESSION_FILTER', position: 3 } });
});

test('arguments may be paths, also when they find nothing or many', async () => {
  const prev = { list: [1, 2], sep: '-', keys: ['a'] };
  expect(await evaluate(db, '{{ $.prev.list | join($.prev.sep) }}', { prev })).toBe('1-2');
  expect(await evaluate(db, '{{ $.prev.list | join($.prev.missing) }}', { prev })).toBe('1,2');
  expect(await evaluate(db, '{{ $.prev.missing | default($.prev.keys[*]) }}', { prev })).toEqual(['a']);
  await expect(evaluate(db, '{{ $.prev.sep | pad($.prev.sep) }}', { prev })).rejects.toMatchObject({ code: 'WF012' });
});

test('the settings of the session change nothing', async () => {
  const client = await db.admin.connect();
  try {
    await client.query(
      `set timezone = 'Asia/Tokyo'; set datestyle = 'German, DMY'; set intervalstyle = 'sql_standard'; set extra_float_digits = 0`,
    );
    const { rows } = await client.query(
      `select engine.filter_date('"2026-11-21T10:00"', 'UTC', null) as date, engine.filter_add('"2026-01-31"', 1, 'months', 'UTC') as later,
         engine.filter_diff('"2026-11-21"', '"2026-11-01"', 'days', 'UTC') as days`,
    );
    expect(rows[0]).toEqual({ date: '2026-11-21T10:00:00.000Z', later: '2026-02-28T00:00:00.000Z', days: 20 });
  } finally {
    client.release(true);
  }
});

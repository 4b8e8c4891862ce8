import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { JsonText, encodeJson, parseJson, scalarShape } from '../../src/json/json.ts';
import { encodeStorableJson, parseStrictJson } from '../../src/json/strict.ts';

describe('strict JSON', () => {
  test('accepts any JSON value and keeps its text', () => {
    for (const text of ['null', '"x"', '[]', ' {"a": [1.50, -2e3, true]} ', '12345678901234567890', '"\\ud83d\\ude00 \\\\u0000"']) {
      expect(parseStrictJson(text).text).toBe(text);
    }
    fc.assert(fc.property(fc.json({ maxDepth: 10 }), (text) => parseStrictJson(text).text === text));
  });

  test.each([
    ['', 'valid'],
    ['{', 'valid'],
    ["{'a':1}", 'valid'],
    ['NaN', 'valid'],
    ['"a\u0000b"', 'valid'],
    ['\ufeff{}', 'valid'],
    ['{"a":"\\u0000"}', '\\u0000'],
    ['{"\\u0000":1}', '\\u0000'],
    ['"\\ud800"', 'surrogate'],
    ['"\\udc00\\ud800"', 'surrogate'],
    ['"\\uD83D\\u0041"', 'surrogate'],
    ['"\\\\\\ud800"', 'surrogate'],
    ['1e309', 'too large'],
    [`-1${'0'.repeat(309)}`, 'too large'],
    [`0.${'1'.repeat(401)}`, 'too large'],
    ['12.5e-400', 'too large'],
    ['[-1.5E+99999]', 'too large'],
    ['1e-131072', 'too large'],
    [`1${'0'.repeat(2000)}`, 'too large'],
    [`${'['.repeat(65)}${']'.repeat(65)}`, 'deeper than 64'],
    [`${'{"a":'.repeat(200_000)}1${'}'.repeat(200_000)}`, 'deeper than 64'],
  ])('refuses %.40s', (text, reason) => {
    expect(() => parseStrictJson(text)).toThrow(reason);
    expect(() => parseStrictJson(text)).toThrow(expect.objectContaining({ code: 'INVALID_JSON' }));
  });

  test('allows numbers of 309 digits before and 400 after the point', () => {
    for (const text of [`-1${'0'.repeat(308)}`, '1e308', `0.${'1'.repeat(400)}`, '1.5e-399', '0.00012e308']) {
      expect(parseStrictJson(text).text).toBe(text);
    }
  });

  test('allows 64 levels', () => {
    expect(() => parseStrictJson(`${'['.repeat(64)}${']'.repeat(64)}`)).not.toThrow();
  });
});

test('parsing and encoding keeps numbers that JavaScript cannot hold', () => {
  for (const text of [
    '[12345678901234567890]',
    '{"a":0.12345678901234567890,"b":[1e400]}',
    '{"a":1}',
    '9007199254740993',
    '123456789012345.678',
    '[1.10,2.0]',
    '1e5',
    '{"a":[ 1.0 ]}',
  ]) {
    expect(encodeJson(parseJson(text))).toBe(text.replaceAll(' ', ''));
  }
  fc.assert(fc.property(fc.jsonValue(), (value) => JSON.stringify(parseJson(JSON.stringify(value))) === JSON.stringify(value)));
});

test('encoding embeds JSON text as it is, and writes null for what JSON has no word for', () => {
  expect(encodeJson(new JsonText('{"a": 1.0}'))).toBe('{"a": 1.0}');
  expect(encodeJson(undefined)).toBe('null');
});

test('what PostgreSQL cannot store is replaced in answers of the outside world', () => {
  expect(JSON.parse(encodeStorableJson({ a: 'x\u0000y', '\ud800': '\\u0000', ok: '😀\\ud800' }))).toEqual({
    a: 'x\ufffdy',
    '\ufffd': '\\u0000',
    ok: '😀\\ud800',
  });
  fc.assert(fc.property(fc.json(), (text) => encodeStorableJson(JSON.parse(text)) === JSON.stringify(JSON.parse(text))));
});

test('a text, number or truth value outside of JSON keeps its digits, but no zeros at its end', () => {
  const text = (json: string) => String(scalarShape.parse(parseJson(json)));
  expect(['1.50', '100.00', '0.0', '9007199254740993', '-1.10', '"1.50"', 'true', '7'].map(text)).toEqual([
    ...['1.5', '100', '0', '9007199254740993', '-1.1', '1.50', 'true', '7'],
  ]);
  expect(scalarShape.safeParse({}).success).toBe(false);
});

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseJson } from '../../src/json/json.ts';
import { Redactor, secretsOf } from '../../src/vault/redact.ts';
import { checkCredential } from '../../src/vault/check.ts';

const SECRET = 'pa"ss/wörd +&1';
const redactorOf = (...secrets: string[]) => {
  const redactor = new Redactor();
  redactor.add(secrets);
  return redactor;
};
const base64 = (text: string) => Buffer.from(text).toString('base64');

test.each([
  ['as it is', SECRET],
  ['in a longer text', `Bearer ${SECRET}, and on`],
  ['in base64', base64(SECRET)],
  ['in base64 of a longer text', base64(`user:${SECRET}`)],
  ['in base64 one byte later', base64(`xuser:${SECRET} and on`)],
  ['in base64 two bytes later', base64(`xxuser:${SECRET} and on`)],
  ['in base64url', Buffer.from(`?>?${SECRET}`).toString('base64url')],
  ['in hexadecimal', Buffer.from(SECRET).toString('hex')],
  ['encoded for an address', `https://example.com/?key=${encodeURIComponent(SECRET)}`],
  ['encoded for an address in lower case', encodeURIComponent(SECRET).toLowerCase().replace('wö', 'wö')],
  ['encoded for a form', String(new URLSearchParams({ key: SECRET }))],
  ['in JSON', JSON.stringify({ key: SECRET })],
  ['in JSON in ASCII', JSON.stringify({ key: SECRET }).replaceAll('ö', '\\u00f6')],
  ['in JSON as PHP writes it', JSON.stringify({ key: SECRET }).replaceAll('/', '\\/')],
  ['in JSON inside of JSON', JSON.stringify({ text: JSON.stringify({ key: SECRET }) })],
])('a secret %s is redacted', (_case, text) => {
  const redacted = redactorOf(SECRET).text(text);
  expect(redacted).toContain('[redacted]');
  expect(redacted).not.toMatch(/wörd|w%c3|dO2cm|w\\u00f6/i);
});

test('keys, items and numbers are redacted; what has no secret stays the same object', () => {
  const redactor = redactorOf('topsecret', '123456789012345678901');
  expect(redactor.value({ a: ['topsecret'], topsecret: 1, n: parseJson('123456789012345678901') })).toEqual({
    a: ['[redacted]'],
    '[redacted]': 1,
    n: '[redacted]',
  });
  const clean = { a: [1, { b: null }], c: 'text' };
  expect(redactor.value(clean)).toBe(clean);
  expect(redactor.value({ a: clean, b: 'topsecret' }).a).toBe(clean);
});

test('without secrets nothing is changed', () => {
  expect(new Redactor().text('abc')).toBe('abc');
});

test('any secret in any text of base64 is redacted', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 12, maxLength: 40 }), fc.string(), fc.string(), (secret, before, after) => {
      const text = Buffer.from(before + secret + after).toString('base64');
      expect(Buffer.from(redactorOf(secret).text(text).split('[redacted]').join(''), 'base64').toString()).not.toContain(secret);
    }),
  );
});

test('the secrets of a credential are what its schema marks', () => {
  expect(secretsOf('basic', checkCredential('basic', { username: 'ada', password: 'opensesame' }))).toEqual(['opensesame']);
  expect(secretsOf('hmac', { secrets: ['first', 'second'] })).toEqual(['first', 'second']);
  expect(secretsOf('custom', { in: 'header', fields: { 'X-A': 'secret a', 'X-B': 'secret b' } })).toEqual(['secret a', 'secret b']);
  expect(secretsOf('apiKey', checkCredential('apiKey', { name: 'X-Key', value: 'topsecret' }))).toEqual(['topsecret']);
});

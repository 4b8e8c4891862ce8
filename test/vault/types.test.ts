import { expect, test } from 'vitest';
import { z } from 'zod';
import { checkCredential } from '../../src/vault/check.ts';
import { CREDENTIAL_TYPES } from '../../src/vault/types.ts';
import { createTestDatabase } from '../helpers/database.ts';

const db = await createTestDatabase();

test('the API shows the types with the schemas by which they are checked', async () => {
  const { rows } = await db.admin.query<{ name: string; schema: unknown }>('select name, schema from credential_types()');
  const checked = Object.entries(CREDENTIAL_TYPES).map(([name, type]) => {
    const { $schema: _dialect, ...schema } = z.toJSONSchema(type, { io: 'input' });
    return [name, { required: [], ...schema }];
  });
  expect(Object.fromEntries(rows.map(({ name, schema }) => [name, schema]))).toEqual(Object.fromEntries(checked));
});

test.each([
  ['basic', { username: 'ada', password: 'opensesame' }],
  ['bearer', { token: 'abcd' }],
  ['hmac', { secrets: ['first secret', 'second secret'] }],
  ['jwt', { jwksUrl: 'https://id.example.com/keys' }],
  ['openaiCompatible', { baseUrl: 'https://llm.example.com/v1', apiKey: 'sk-1234' }],
  ['custom', { in: 'none', fields: { first: 'secret one' } }],
])('%s takes %j', (type, data) => {
  expect(checkCredential(type, data)).toEqual(data);
});

test('what is left out gets its default', () => {
  expect(checkCredential('apiKey', { name: 'X-Key', value: 'abcdef' })).toEqual({
    in: 'header',
    name: 'X-Key',
    prefix: '',
    value: 'abcdef',
  });
});

test.each([
  ['an unknown type', 'password', {}],
  ['the name of a method as type', 'constructor', {}],
  ['an empty secret', 'bearer', { token: '' }],
  ['a secret of three characters', 'bearer', { token: 'abc' }],
  ['no secret', 'bearer', {}],
  ['no object', 'bearer', 'topsecret'],
  ['null', 'bearer', null],
  ['a further key', 'bearer', { token: 'topsecret', user: 'topsecret' }],
  ['a line break, which would end a header', 'bearer', { token: 'topsecret\r\nx: y' }],
  ['the character U+0000', 'bearer', { token: 'topsecret\0' }],
  ['half of a pair of surrogates', 'bearer', { token: 'topsecret\ud800' }],
  ['a name that is no header', 'apiKey', { name: 'a b', value: 'topsecret' }],
  ['an address with a login', 'openaiCompatible', { baseUrl: 'https://topsecret@llm.example.com', apiKey: 'topsecret' }],
  ['an address of another protocol', 'openaiCompatible', { baseUrl: 'file:///etc/passwd', apiKey: 'topsecret' }],
  ['no active secret', 'hmac', { secrets: [] }],
  ['four active secrets', 'hmac', { secrets: ['topsecret', 'topsecret', 'topsecret', 'topsecret'] }],
  ['nothing to verify with', 'jwt', { issuer: 'me' }],
  ['no field', 'custom', { fields: {} }],
  ['a port that is none', 'smtp', { host: 'mail', port: 0 }],
])('%s is refused, without a word of it', (_case, type, data) => {
  const refusal = (() => {
    try {
      return checkCredential(type, data);
    } catch (error) {
      return error;
    }
  })();
  expect(refusal).toMatchObject({ code: 'VALIDATION_FAILED' });
  expect(JSON.stringify([String(refusal), refusal])).not.toContain('topsecret');
});

test('1 MiB is refused as too large', () => {
  expect(() => checkCredential('bearer', { token: 'x'.repeat(1024 * 1024) })).toThrow(expect.objectContaining({ code: 'TOO_LARGE' }));
});

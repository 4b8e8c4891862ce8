/** Values that nothing can do anything with: refused, with the name of the field, and never a failure of ours. */
import { request as httpRequest } from 'node:http';
import { SignJWT } from 'jose';
import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';

const SECRET = 'a secret of more than 32 characters';
let db: TestDatabase;
let acme: TestOrganization;
let server: TestServer;
let workflow: string;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  workflow = (await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }))).id;
  server = await serveGraphql(db, { jwt: { secret: SECRET, issuer: 'https://id.example', audience: 'flowgres' } });
});

const TOKEN =
  'mutation ($name: String!, $at: Datetime) { createApiToken(input: { name: $name, scopes: [runs_read], expiresAt: $at }) { newApiToken { secret } } }';
const START = 'mutation ($input: StartWorkflowRunInput!) { startWorkflowRun(input: $input) { workflowRun { id status } } }';

async function refusal(query: string, variables: unknown, token: string | null = acme.token) {
  const response = await fetch(server.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
    body:
      typeof variables === 'string'
        ? `{"query": ${JSON.stringify(query)}, "variables": ${variables}}`
        : JSON.stringify({ query, variables }),
  });
  const { errors } = (await response.json()) as { errors?: { extensions: { code: string; details?: { field?: string } } }[] };
  expect(response.status).toBeLessThan(500);
  const { code, details } = errors?.[0]?.extensions ?? {};
  return [code, details?.field];
}

test.each([
  'infinity',
  '-infinity',
  'tomorrow',
  'now',
  'allballs',
  '2027-02-30',
  '2027-13-01',
  '12027-01-01',
  '2027-01-01T25:00Z',
  '2027-01-01T00:00+16:00',
  '0000-01-01',
  '',
  '🙂',
])('the time %j is none, and the answer says of what', async (at) => {
  expect(await refusal(TOKEN, { name: 'x', at })).toEqual(['INVALID_ARGUMENT', 'at']);
  const literal = TOKEN.replace('$at: Datetime', '').replace('$at', JSON.stringify(at));
  expect((await refusal(literal, { name: 'x' }))[0]).toBe('INVALID_ARGUMENT');
});

test.each(['2099-01-31', '2099-01-31 12:00', '2099-02-28T23:59:59.123456Z', '2099-01-31T12:00:00+05:30'])(
  'the time %j is one',
  async (at) => {
    expect(await refusal(TOKEN, { name: 'x', at })).toEqual([undefined, undefined]);
  },
);

test('a value inside of an input is named by its path', async () => {
  const query = 'mutation ($input: CreateApiTokenInput!) { createApiToken(input: $input) { newApiToken { secret } } }';
  expect(await refusal(query, { input: { name: 'x', scopes: [], expiresAt: 'tomorrow' } })).toEqual([
    'INVALID_ARGUMENT',
    'input.expiresAt',
  ]);
});

const nested = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`;

test('JSON that is nested too deeply, of 5,000 levels or a hundred thousand, is too large', async () => {
  for (const levels of [80, 5_000, 100_000]) {
    const variables = `{"input": {"workflowId": "${workflow}", "input": ${nested(levels)}}}`;
    expect(await refusal(START, variables)).toEqual(
      levels > 50_000
        ? [expect.stringMatching(/^(TOO_LARGE|INVALID_ARGUMENT)$/), expect.anything()]
        : ['TOO_LARGE', expect.stringMatching(/^input\.input/)],
    );
  }
  expect(await refusal(START, `{"input": {"workflowId": "${workflow}", "input": ${nested(60)}}}`)).toEqual([undefined, undefined]);
});

test.each([
  ['"\\u0000"', 'INVALID_TEXT'],
  ['"a\\u0000b"', 'INVALID_TEXT'],
  ['{"\\u0000": 1}', 'INVALID_TEXT'],
  ['"\\ud800"', 'INVALID_TEXT'],
  ['{"a": ["\\udc00x"]}', 'INVALID_TEXT'],
  ['1e400', 'INVALID_ARGUMENT'],
])('the JSON value %s cannot be stored', async (value, code) => {
  expect(await refusal(START, `{"input": {"workflowId": "${workflow}", "input": ${value}}}`)).toEqual([
    code,
    expect.stringMatching(/^input\.input/),
  ]);
});

test.each([
  ['null', 'null'],
  ['nothing', 'undefined'],
])('a JSON variable that is %s is answered', async (_name, value) => {
  const start =
    'mutation ($workflow: UUID!, $input: JSON) { startWorkflowRun(input: { workflowId: $workflow, input: $input }) { workflowRun { id } } }';
  const variables = `{"workflowId": "${workflow}"${value === 'null' ? ', "input": null' : ''}}`;
  expect((await refusal(start, variables))[0] ?? 'done').not.toBe('INTERNAL');
  const validate = 'query ($definition: JSON!) { validateWorkflow(definition: $definition) { nodes { code } } }';
  expect((await refusal(validate, `{"definition": null}`))[0]).toBe('INVALID_ARGUMENT');
  expect(server.logged).toEqual([]);
});

test.each([
  ['a NUL in its subject', { sub: 'a\u0000b' }],
  ['half a surrogate in its subject', { sub: 'a\ud800' }],
  ['an end in 285 million years', { exp: 9e15 }],
  ['an end that is a fraction', { exp: 4_000_000_000.5 }],
  ['no subject', { sub: '' }],
])('a token of the identity provider with %s is refused, not a failure', async (_name, claims) => {
  const token = await new SignJWT({ iss: 'https://id.example', aud: 'flowgres', sub: 'ada', exp: 4_000_000_000, ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(SECRET));
  const { status, errors } = await server.query(token, '{ currentUser { id } }');
  expect([status, errors?.[0]?.extensions?.code]).toEqual([401, 'UNAUTHENTICATED']);
});

test('whom an identity provider gives a name and an address that are none is let in all the same', async () => {
  const token = await new SignJWT({
    iss: 'https://id.example',
    aud: 'flowgres',
    sub: 'odd',
    exp: 4_000_000_000,
    name: 'A\r\nB',
    email: 'a b@c\n',
    email_verified: true,
  })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(SECRET));
  const { currentUser } = await server.data(token, '{ currentUser { name email emailVerifiedAt } }');
  expect(currentUser).toEqual({ name: 'A B', email: expect.stringMatching(/@identity\.invalid$/), emailVerifiedAt: null });
});

test('bytes, headers and paths that are none are refused', async () => {
  const url = new URL(server.url);
  const send = (path: string, body: Buffer | string, headers: Record<string, string> = {}) =>
    new Promise<{ status: number; text: string }>((resolve, reject) => {
      const sent = httpRequest(
        {
          host: url.hostname,
          port: url.port,
          path,
          method: 'POST',
          headers: { 'content-type': 'application/json', accept: 'application/json', ...headers },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('end', () => resolve({ status: response.statusCode!, text: Buffer.concat(chunks).toString() }));
        },
      );
      sent.on('error', reject).end(body);
    });
  const ME = '{"query": "{ __typename }"}';
  const answers = [
    await send('/graphql', Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d])),
    await send('/graphql', nested(120_000)),
    await send('/graphql', '{"query": "{ __typename }", "operationName": "\\u0000"}'),
    await send('/graphql', '{"query": "query A { __typename }", "operationName": "A\\ud800"}'),
    await send('/graphql', '{"query": "{ a(b: \\"\\u0000\\") }"}'),
    await send('/graphql', '{"query": 1e400}'),
    await send('/graphql', ME, { authorization: 'Bearer \u00ff\u0080' }),
    await send('/graphql', ME, { cookie: 'a=\u00ff; b=%00', 'user-agent': '\u00ff\u0081', 'x-request-id': '%00' }),
    await send('/graphql%00', ME),
    await send('/%00', ME),
    await send('/auth/login%00', '{}'),
    await send('/auth/login', Buffer.from('{"email": "\xff", "password": "x"}', 'latin1')),
    await send('/auth/login', '{"email": "a\\u0000@b.example", "password": "x"}'),
    await send('/auth/login', `{"email": ${nested(5_000)}, "password": "x"}`),
    await send('/auth/register', '{"name": "\\ud800", "email": "a@b.example", "password": "correct horse"}'),
  ];
  for (const { status, text } of answers) {
    expect(status, text).toBeLessThan(500);
    expect(text).not.toContain('INTERNAL');
  }
  expect(server.logged).toEqual([]);
});

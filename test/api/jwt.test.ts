/** Tokens of an identity provider: a real one, with its keys on a real HTTP server. */
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type GenerateKeyPairResult, SignJWT, exportJWK, exportSPKI, generateKeyPair } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { createOrganization } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';
import { createPerson } from '../helpers/people.ts';

const ISSUER = 'https://id.example.com';
const AUDIENCE = 'flowgres';
const ME = '{ currentUser { id name email emailVerifiedAt } currentOrganization { id } }';

let db: TestDatabase;
let keys: GenerateKeyPairResult;
let server: TestServer;
let provider: ReturnType<typeof createServer>;
let fetched = 0;
beforeAll(async () => {
  db = await createTestDatabase();
  keys = await generateKeyPair('RS256', { extractable: true });
  const jwks = JSON.stringify({ keys: [{ ...(await exportJWK(keys.publicKey)), kid: 'one', alg: 'RS256', use: 'sig' }] });
  provider = createServer((_request, response) => {
    fetched += 1;
    response.setHeader('content-type', 'application/json').end(jwks);
  });
  await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve));
  const jwksUrl = `http://127.0.0.1:${(provider.address() as AddressInfo).port}/keys`;
  server = await serveGraphql(db, { jwt: { jwksUrl, issuer: ISSUER, audience: AUDIENCE } });
});
afterAll(() => void provider.close());

interface Changes {
  claims?: Record<string, unknown>;
  subject?: string;
  issuer?: string;
  audience?: string;
  expires?: string | number;
  header?: Record<string, string>;
  key?: Parameters<SignJWT['sign']>[0];
}
function sign({ claims = {}, subject = 'ada', issuer = ISSUER, audience = AUDIENCE, expires = '10m', header, key }: Changes = {}) {
  return new SignJWT({ name: 'Ada', email: `${subject}@example.com`, email_verified: true, ...claims })
    .setProtectedHeader({ alg: 'RS256', kid: 'one', ...header })
    .setSubject(subject)
    .setIssuer(issuer)
    .setAudience(audience)
    .setIssuedAt()
    .setExpirationTime(expires)
    .sign(key ?? keys.privateKey);
}
const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const codeOf = async (token: string, asked = server) => {
  const { status, errors } = await asked.query(token, ME);
  return [status, errors?.[0]?.extensions?.code];
};

describe('a token that the provider signed', () => {
  test('is a user from its first request on, and the same one with the next token', async () => {
    const { currentUser } = await server.data(await sign(), ME);
    expect(currentUser).toMatchObject({ name: 'Ada', email: 'ada@example.com', emailVerifiedAt: expect.any(String) });
    const again = await server.data(await sign({ claims: { name: 'Renamed', jti: '2' } }), ME);
    expect(again.currentUser.id).toBe(currentUser.id);
    const { rows } = await db.admin.query(
      `select kind, expires_at <= now() + interval '1 hour' as short from private.sessions where user_id = $1`,
      [currentUser.id],
    );
    expect(rows).toEqual([
      { kind: 'identity', short: true },
      { kind: 'identity', short: true },
    ]);
  });

  test('acts in the organizations of its user', async () => {
    const acme = await createOrganization(db);
    const { currentUser } = await server.data(await sign({ subject: 'bo' }), ME);
    await db.admin.query('insert into organization_users (organization_id, user_id) values ($1, $2)', [acme.id, currentUser.id]);
    expect((await server.data(await sign({ subject: 'bo', claims: { jti: '2' } }), ME)).currentOrganization).toEqual({ id: acme.id });
  });

  test('makes one user of many first requests at once', async () => {
    const tokens = await Promise.all(Array.from({ length: 8 }, (_, jti) => sign({ subject: 'many', claims: { jti: String(jti) } })));
    const ids = await Promise.all([...tokens, ...tokens].map(async (token) => (await server.data(token, ME)).currentUser.id));
    expect(new Set(ids).size).toBe(1);
  });

  test('does not open the account that has its address; a DBA may link the two', async () => {
    const person = await createPerson(db, 'Local');
    const token = () => sign({ subject: 'local', claims: { email: person.email, jti: String(Math.random()) } });
    const { currentUser } = await server.data(await token(), ME);
    expect(currentUser.id).not.toBe(person.id);
    expect(currentUser.emailVerifiedAt).toBeNull();
    await db.admin.query('select link_identity($1, $2, $3)', [ISSUER, 'local', person.id]);
    expect((await server.data(await token(), ME)).currentUser.id).toBe(person.id);
  });

  test('without an address, a name or with nonsense for them is somebody all the same', async () => {
    const { currentUser } = await server.data(
      await sign({ subject: 'bare', claims: { email: 'nonsense', name: 7, email_verified: 'yes' } }),
      ME,
    );
    expect(currentUser).toMatchObject({ name: 'Unnamed', email: expect.stringMatching(/@identity\.invalid$/), emailVerifiedAt: null });
  });

  test('ends when its session is revoked', async () => {
    const token = await sign({ subject: 'revoked' });
    expect((await server.query(token, ME)).status).toBe(200);
    await server.data(token, 'mutation { logout(input: {}) { loggedOut } }');
    const later = await serveGraphql(db, { jwt: { secret: 's'.repeat(32), issuer: ISSUER, audience: AUDIENCE } });
    expect(await codeOf(token, later)).toEqual([401, 'UNAUTHENTICATED']);
    expect((await server.query(token, ME)).data?.currentUser ?? null).toBeNull();
    await later.close();
  });
});

describe('refused is a token', () => {
  const soon = () => Math.floor(Date.now() / 1_000);
  const refused: [string, () => Promise<string>][] = [
    ['that has expired a second ago', () => sign({ expires: soon() - 1 })],
    ['that is not valid yet', () => sign({ claims: { nbf: soon() + 60 } })],
    ['for another audience', () => sign({ audience: 'other' })],
    ['of another issuer', () => sign({ issuer: 'https://evil.example.com' })],
    ['without a subject', async () => sign({ subject: '' })],
    ['of an unknown key', () => sign({ header: { kid: 'two' } })],
    ['signed by somebody else under a known key’s name', async () => sign({ key: (await generateKeyPair('RS256')).privateKey })],
    [
      'without a signature: alg none',
      async () => `${part({ alg: 'none' })}.${part({ sub: 'ada', iss: ISSUER, aud: AUDIENCE, exp: soon() + 60 })}.`,
    ],
    [
      'whose HMAC was made with the public key',
      async () => {
        const text = `${part({ alg: 'HS256', kid: 'one' })}.${part({ sub: 'ada', iss: ISSUER, aud: AUDIENCE, exp: soon() + 60 })}`;
        return `${text}.${createHmac('sha256', await exportSPKI(keys.publicKey))
          .update(text)
          .digest('base64url')}`;
      },
    ],
    [
      'whose payload was changed',
      async () => (await sign()).replace(/\.[^.]+\./, `.${part({ sub: 'root', iss: ISSUER, aud: AUDIENCE, exp: soon() + 60 })}.`),
    ],
    ['that brings its own key', async () => sign({ header: { jku: 'http://127.0.0.1:1/', kid: 'mine' } })],
    ['that is none', async () => 'a.b.c'],
    ['that is hardly one', async () => '..'],
  ];
  test.each(refused)('%s', async (_what, make) => {
    expect(await codeOf(await make())).toEqual([401, 'UNAUTHENTICATED']);
  });

  test('that never ends', async () => {
    const token = await new SignJWT({ sub: 'ada' })
      .setProtectedHeader({ alg: 'RS256', kid: 'one' })
      .setIssuer(ISSUER)
      .setAudience(AUDIENCE)
      .sign(keys.privateKey);
    expect(await codeOf(token)).toEqual([401, 'UNAUTHENTICATED']);
  });

  test('where no provider is configured', async () => {
    const plain = await serveGraphql(db);
    expect(await codeOf(await sign({ subject: 'plain' }), plain)).toEqual([401, 'UNAUTHENTICATED']);
    await plain.close();
  });
});

test('unknown keys do not make us ask the provider again and again', async () => {
  const before = fetched;
  for (let turn = 0; turn < 5; turn += 1) await codeOf(await sign({ header: { kid: `unknown ${turn}` } }));
  expect(fetched - before).toBeLessThanOrEqual(1);
});

test('while the provider is down, tokens are not refused as wrong: 503', async () => {
  const down = await serveGraphql(db, { jwt: { jwksUrl: 'http://127.0.0.1:1/keys', issuer: ISSUER, audience: AUDIENCE } });
  expect(await codeOf(await sign({ subject: 'down' }), down)).toEqual([503, 'UNAVAILABLE']);
  // Our own are not concerned.
  expect((await down.query((await createPerson(db)).secret, ME)).status).toBe(200);
  await down.close();
});

describe('with a shared secret', () => {
  const secret = 'a secret of at least 32 characters';
  test('HS256 is accepted, and nothing that another key or algorithm made', async () => {
    const shared = await serveGraphql(db, { jwt: { secret, issuer: ISSUER, audience: AUDIENCE } });
    const key = new TextEncoder().encode(secret);
    const hs = (alg: string, of = key) => sign({ subject: 'shared', header: { alg }, key: of });
    expect((await shared.query(await hs('HS256'), ME)).status).toBe(200);
    expect(await codeOf(await hs('HS512'), shared)).toEqual([401, 'UNAUTHENTICATED']);
    expect(await codeOf(await hs('HS256', new TextEncoder().encode('x'.repeat(32))), shared)).toEqual([401, 'UNAUTHENTICATED']);
    expect(await codeOf(await sign(), shared)).toEqual([401, 'UNAUTHENTICATED']);
    await shared.close();
  });
});

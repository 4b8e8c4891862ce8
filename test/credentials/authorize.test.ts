/** Logins with OAuth2 authorization code at a real provider: from authorizeCredential to sealed tokens. */
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Provider } from 'oidc-provider';
import { beforeAll, expect, test } from 'vitest';
import { createTokenFetch } from '../../src/nodes/token_fetch.ts';
import { Credentials } from '../../src/vault/credentials.ts';
import { FreshTokens } from '../../src/vault/tokens.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';
import { type TestVault, createCredential, createTestVault } from '../helpers/vault.ts';

const CLIENT_SECRET = 'planted client secret';
const PUBLIC_URL = 'https://flowgres.example';
let db: TestDatabase;
let acme: TestOrganization;
let keys: TestVault;
let server: TestServer;
let issuer = '';

beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  keys = await createTestVault();
  const http = createServer((request, response) => void handle(request, response));
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  issuer = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: 'flowgres',
        client_secret: CLIENT_SECRET,
        grant_types: ['authorization_code', 'refresh_token'],
        redirect_uris: [`${PUBLIC_URL}/oauth2/callback`],
      },
    ],
    features: { devInteractions: { enabled: false } },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    issueRefreshToken: async () => true,
    interactions: { url: (_context, { uid }) => `/login/${uid}` },
    findAccount: (_context, accountId) => ({ accountId, claims: async () => ({ sub: accountId }) }),
    // Ada agrees to what she is asked.
    loadExistingGrant: async ({ oidc }) => {
      const grant = new provider.Grant({ accountId: oidc.session!.accountId!, clientId: oidc.client!.clientId });
      grant.addOIDCScope('openid');
      await grant.save();
      return grant;
    },
  });
  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!request.url?.startsWith('/login/')) return provider.callback()(request, response);
    await provider.interactionFinished(request, response, { login: { accountId: 'ada' } });
  }
  server = await serveGraphql(db, { vault: keys.vault, publicUrl: PUBLIC_URL, nodes: { httpAllow: [new URL(issuer).host] } });
  return () => void http.close().closeAllConnections();
});

const data = () => ({
  authorizationUrl: `${issuer}/auth?prompt=login`,
  tokenUrl: `${issuer}/token`,
  clientId: 'flowgres',
  clientSecret: CLIENT_SECRET,
  scope: 'openid',
});
const create = (name: string, change: Record<string, unknown> = {}) =>
  createCredential(db, keys, acme, { name, type: 'oauth2AuthorizationCode', data: { ...data(), ...change } });
const AUTHORIZE = `mutation ($id: UUID!) {
  authorizeCredential(input: { credentialId: $id, clientMutationId: "x" }) { clientMutationId authorizationUrl expiresAt } }`;
const authorize = async (id: string): Promise<string> =>
  (await server.data(acme.token, AUTHORIZE, { id })).authorizeCredential.authorizationUrl;
const open = (name: string) => new Credentials(db.pool('flowgres_worker'), keys.vault).open({ organizationId: acme.id, name });

/** Does what the browser of somebody does who logs in, until the provider sends it back: returns the address. */
async function logIn(address: string): Promise<URL> {
  const cookies = new Map<string, string>();
  for (let url = new URL(address); ; ) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(url, { redirect: 'manual', headers: { cookie } });
    for (const [name, value] of response.headers.getSetCookie().map((each) => each.split(';', 1)[0]!.split('=')))
      cookies.set(name!, value!);
    const location = response.headers.get('location');
    if (!location) throw new Error(`${url.pathname} answered ${response.status}: ${await response.text()}`);
    url = new URL(location, url);
    if (url.origin === PUBLIC_URL) return url;
  }
}

/** Sends the browser to the callback, which answers text, or an error as JSON. */
async function back({ search }: { search: string }) {
  const response = await fetch(new URL(`/oauth2/callback${search}`, server.url));
  const text = await response.text();
  return {
    status: response.status,
    text,
    code: text.startsWith('{') ? (JSON.parse(text) as { error: { code: string } }).error.code : null,
  };
}

test('somebody logs in, and steps get tokens that they can renew', async () => {
  const id = await create('mail');
  const { authorizeCredential } = await server.data(acme.token, AUTHORIZE, { id });
  expect(authorizeCredential).toEqual({ clientMutationId: 'x', authorizationUrl: expect.any(String), expiresAt: expect.any(String) });
  const address = new URL(authorizeCredential.authorizationUrl);
  expect(Object.fromEntries(address.searchParams)).toEqual({
    prompt: 'login',
    response_type: 'code',
    client_id: 'flowgres',
    redirect_uri: `${PUBLIC_URL}/oauth2/callback`,
    scope: 'openid',
    state: expect.stringMatching(/^[\w-]{43}$/),
    code_challenge: expect.stringMatching(/^[\w-]{43}$/),
    code_challenge_method: 'S256',
  });
  const { rows } = await db.admin.query<{ row: string }>(`select a::text as row from private.credential_authorizations as a`);
  expect(rows[0]!.row).not.toContain(address.searchParams.get('state'));

  expect(await back(await logIn(address.href))).toEqual({
    status: 200,
    text: 'The credential mail is connected. You can close this page.\n',
    code: null,
  });
  const opened = await open('mail');
  expect(opened).toMatchObject({ version: 2, data: { ...data(), accessToken: expect.any(String), refreshToken: expect.any(String) } });

  const pool = db.pool('flowgres_worker');
  const fetch = createTokenFetch({ httpAllow: [new URL(issuer).host] });
  const tokens = new FreshTokens({ pool, vault: keys.vault, credentials: new Credentials(pool, keys.vault), fetch });
  const used = await tokens.of({ ...opened, data: { ...opened.data, tokenExpiresAt: new Date(0).toISOString() } });
  expect(used.data['accessToken']).not.toBe(opened.data['accessToken']);
});

test('another login takes the place of the tokens, also of those that a step renews meanwhile', async () => {
  const id = await create('again', { accessToken: 'old access token', refreshToken: 'old refresh token' });
  const returned = await logIn(await authorize(id));
  const envelope = keys.vault.seal({ organizationId: acme.id, id, version: 2 }, { ...data(), accessToken: 'renewed' });
  // The callback has read the first version when a step stores the second one.
  await db.admin.query(`create function private.interfere() returns trigger language plpgsql security definer set search_path = pg_catalog as $$
    begin
      if tg_op = 'UPDATE' and new.used_at is not null then
        perform engine.replace_secret(new.organization_id, new.credential_id, 2, current_setting('flowgres.test_envelope'));
      end if;
      return null;
    end $$`);
  await db.admin.query(
    `do $$ begin execute format('alter database %I set flowgres.test_envelope = %L', current_database(), '${envelope}'); end $$`,
  );
  await db.admin.query(`create constraint trigger interfere after update on private.credential_authorizations
    deferrable initially deferred for each row execute function private.interfere()`);
  const other = await serveGraphql(db, { vault: keys.vault, publicUrl: PUBLIC_URL, nodes: { httpAllow: [new URL(issuer).host] } });
  try {
    const response = await fetch(new URL(`/oauth2/callback${returned.search}`, other.url));
    expect(response.status).toBe(200);
  } finally {
    await other.close();
    await db.admin.query('drop function private.interfere() cascade');
  }
  const { version, data: stored } = await open('again');
  expect([version, stored['accessToken'] === 'renewed']).toEqual([3, false]);
  expect(stored['refreshToken']).not.toBe('old refresh token');
});

test('a state counts once, and only the last one of a credential', async () => {
  const id = await create('once');
  const first = await authorize(id);
  const second = await authorize(id);
  expect(await back(await logIn(first))).toMatchObject({ status: 404, code: 'NOT_FOUND' });
  const returned = await logIn(second);
  expect(await back(returned)).toMatchObject({ status: 200 });
  expect(await back(returned)).toMatchObject({ status: 409, code: 'ALREADY_USED' });
  expect((await open('once')).version).toBe(2);
});

test('a login that took too long is refused', async () => {
  const returned = await logIn(await authorize(await create('slow')));
  await db.admin.query('update private.credential_authorizations set expires_at = engine.now() where used_at is null');
  expect(await back(returned)).toMatchObject({ status: 410, code: 'EXPIRED' });
});

test.each([
  ['without anything', '', 400, 'VALIDATION_FAILED'],
  ['without a state', '?code=x', 400, 'VALIDATION_FAILED'],
  ['with a state that is none', '?code=x&state=x', 404, 'NOT_FOUND'],
  ['with one that is too long', `?code=x&state=${'x'.repeat(201)}`, 400, 'VALIDATION_FAILED'],
])('a callback %s is refused', async (_case, search, status, code) => {
  expect(await back({ search })).toMatchObject({ status, code });
});

test.each([
  ['a no of who was asked', (state: string) => `?error=access_denied&error_description=topsecret&state=${state}`, 'access_denied'],
  ['an error that cannot be read', (state: string) => `?error=${encodeURIComponent('<b>topsecret</b>')}&state=${state}`, 'unreadable'],
  ['neither code nor error', (state: string) => `?state=${state}`, 'no_code'],
  ['another code', (state: string) => `?code=topsecret&state=${state}`, 'invalid_grant'],
])('the provider’s answer %s is an error, and uses the state up', async (name, search, error) => {
  const state = new URL(await authorize(await create(name))).searchParams.get('state')!;
  const answer = await back({ search: search(state) });
  expect(answer).toMatchObject({ status: 403, code: 'OAUTH2_REFUSED' });
  expect(JSON.parse(answer.text)).toMatchObject({ error: { details: { error } } });
  expect(answer.text + JSON.stringify(server.logged)).not.toMatch(/topsecret|planted/);
  expect(await back({ search: `?code=x&state=${state}` })).toMatchObject({ code: 'ALREADY_USED' });
});

test('a code that somebody else has seen is worth nothing: the verifier is sealed', async () => {
  const returned = await logIn(await authorize(await create('seen')));
  const body = {
    grant_type: 'authorization_code',
    code: returned.searchParams.get('code')!,
    redirect_uri: `${PUBLIC_URL}/oauth2/callback`,
  };
  const authorization = `Basic ${Buffer.from(`flowgres:${encodeURIComponent(CLIENT_SECRET)}`).toString('base64')}`;
  const stolen = await fetch(`${issuer}/token`, { method: 'POST', headers: { authorization }, body: new URLSearchParams(body) });
  expect([stolen.status, await stolen.json()]).toEqual([400, expect.objectContaining({ error: 'invalid_grant' })]);
  expect(await back(returned)).toMatchObject({ status: 200 });
});

test('a provider that is not there is told from one that says no', async () => {
  const state = async (name: string, tokenUrl: string) =>
    new URL(await authorize(await create(name, { tokenUrl }))).searchParams.get('state')!;
  expect(await back({ search: `?code=x&state=${await state('none', `${issuer}/none`)}` })).toMatchObject({
    code: 'OAUTH2_UNAVAILABLE',
    status: 502,
  });
  expect(await back({ search: `?code=x&state=${await state('inside', 'http://127.0.0.1:1/')}` })).toMatchObject({
    status: 403,
    code: 'SSRF_BLOCKED',
  });
});

test.each<[string, string | null, () => Promise<string>, string]>([
  ['without a token', null, () => create('mine'), 'UNAUTHENTICATED'],
  ['that is not there', 'token', async () => crypto.randomUUID(), 'NOT_FOUND'],
  [
    'of another type',
    'token',
    () => createCredential(db, keys, acme, { name: 'b', type: 'bearer', data: { token: 'abcdef' } }),
    'VALIDATION_FAILED',
  ],
])('no login begins with a credential %s', async (_case, token, id, code) => {
  const answer = await server.query(token && acme.token, AUTHORIZE, { id: await id() });
  expect(answer.errors).toMatchObject([{ extensions: { code } }]);
});

test('a server that does not know its address says so', async () => {
  const other = await serveGraphql(db, { vault: keys.vault });
  const answer = await other.query(acme.token, AUTHORIZE, { id: await create('where') });
  expect(answer.errors).toMatchObject([{ extensions: { code: 'PUBLIC_URL_MISSING' } }]);
});

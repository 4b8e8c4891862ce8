/** Tokens of OAuth2, from a provider that rotates refresh tokens and revokes all of them when one is used twice. */
import { type Server, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Provider } from 'oidc-provider';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { Engine, createEnginePool } from '../../src/engine/engine.ts';
import { Credentials } from '../../src/vault/credentials.ts';
import { FreshTokens } from '../../src/vault/tokens.ts';
import { createTokenFetch } from '../../src/nodes/token_fetch.ts';
import { startWorker } from '../../src/worker/start.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { type TestVault, createCredential, createTestVault } from '../helpers/vault.ts';

const CLIENT_SECRET = 'planted client secret';
let db: TestDatabase;
let acme: TestOrganization;
let keys: TestVault;
let provider: Provider;
let issuer = '';
let peer: Server;
let sent: (string | undefined)[] = [];
let granted = 0;
let refused: string[] = [];

beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  keys = await createTestVault();
  const http = createServer((request, response) => void provider.callback()(request, response));
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  issuer = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  provider = new Provider(issuer, {
    clients: [
      {
        client_id: 'flowgres',
        client_secret: CLIENT_SECRET,
        grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
        redirect_uris: ['https://flowgres.example/oauth2/callback'],
      },
    ],
    features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
    rotateRefreshToken: true,
    ttl: { AccessToken: 3_600, ClientCredentials: 600, RefreshToken: 86_400, Grant: 86_400 },
    findAccount: (_context, accountId) => ({ accountId, claims: async () => ({ sub: accountId }) }),
  });
  provider.on('grant.success', () => {
    granted += 1;
  });
  provider.on('grant.error', (_context, error) => refused.push(error.error));
  peer = createServer((request, response) => {
    sent.push(request.headers.authorization);
    response.end('ok');
  });
  await new Promise<void>((resolve) => peer.listen(0, '127.0.0.1', resolve));
  return () => {
    for (const server of [http, peer]) server.close().closeAllConnections();
  };
});
beforeEach(() => {
  [sent, granted, refused] = [[], 0, []];
});

const hostOf = (server: Server) => `127.0.0.1:${(server.address() as AddressInfo).port}`;
const config = () => ({ httpAllow: [new URL(issuer).host, hostOf(peer)] });

/** A refresh token as somebody gets it who logs in. */
async function logIn(): Promise<string> {
  const grant = new provider.Grant({ accountId: 'ada', clientId: 'flowgres' });
  grant.addOIDCScope('openid offline_access');
  const client = await provider.Client.find('flowgres');
  const token = new provider.RefreshToken({
    accountId: 'ada',
    client: client!,
    grantId: await grant.save(),
    scope: 'openid offline_access',
    gty: 'authorization_code',
    expiresWithSession: false,
  } as never);
  return token.save();
}

async function oauthCredential(name: string, change: Record<string, unknown> = {}): Promise<void> {
  const data = {
    authorizationUrl: `${issuer}/auth`,
    tokenUrl: `${issuer}/token`,
    clientId: 'flowgres',
    clientSecret: CLIENT_SECRET,
    refreshToken: await logIn(),
    ...change,
  };
  await createCredential(db, keys, acme, { name, type: 'oauth2AuthorizationCode', data, allowedHosts: [hostOf(peer)] });
}

/** What one process has: its own lease holder and its own refreshes in progress. */
function process() {
  const pool = db.pool('flowgres_worker');
  const credentials = new Credentials(pool, keys.vault);
  const tokens = new FreshTokens({ pool, credentials, vault: keys.vault, fetch: createTokenFetch(config()) });
  const open = (name: string) => credentials.open({ organizationId: acme.id, name });
  return { open, fresh: async (name: string) => tokens.of(await open(name)) };
}

/** Makes the access token look used up, as after an hour. */
async function expire(name: string): Promise<void> {
  const credential = await process().open(name);
  const { organizationId, id, version } = credential;
  const data = { ...credential.data, tokenExpiresAt: new Date(Date.now() - 1_000).toISOString() };
  const envelope = keys.vault.seal({ organizationId, id, version: version + 1 }, data);
  await db.pool('flowgres_worker').query('select engine.replace_secret($1, $2, $3, $4)', [organizationId, id, version + 1, envelope]);
}

test('20 concurrent steps of two workers renew a rotating token once, again and again', async () => {
  await oauthCredential('rotating');
  const intake = new Engine(createEnginePool(db.url('flowgres_intake'), 'test'));
  const node = { id: 'call', type: 'httpRequest', credentials: { auth: 'rotating' }, properties: { url: `http://${hostOf(peer)}/` } };
  const { id } = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, node));
  const workers = await Promise.all(
    [1, 2].map(() => startWorker({ connectionString: db.url('flowgres_worker'), concurrency: 10, vault: keys.vault, nodes: config() })),
  );
  try {
    for (let round = 1; round <= 3; round += 1) {
      const start = () => intake.startRun({ organizationId: acme.id, workflowId: id, mode: 'api', input: {} });
      const runs = (await Promise.all(Array.from({ length: 20 }, start))).map(({ runId }) => runId);
      await expect
        .poll(async () => (await intake.runAnswers(runs)).map(({ status }) => status), { timeout: 20_000 })
        .toEqual(runs.map(() => 'success'));
      expect([granted, refused]).toEqual([round, []]);
      await expire('rotating');
    }
    expect(sent).toHaveLength(60);
    expect(new Set(sent).size).toBe(3);
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()));
  }
}, 60_000);

test('without the lease each process would burn the token of the others', async () => {
  await oauthCredential('burned');
  const { open } = process();
  const { data } = await open('burned');
  const refresh = () =>
    fetch(`${issuer}/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${Buffer.from(`flowgres:${encodeURIComponent(CLIENT_SECRET)}`).toString('base64')}` },
      body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: String(data['refreshToken']) }),
    }).then((response) => response.status);
  expect(await refresh()).toBe(200);
  expect(await refresh()).toBe(400);
});

test('a process waits for the one that has the lease, and takes a lease over that has expired', async () => {
  await oauthCredential('leased');
  const { open, fresh } = process();
  const { organizationId, id } = await open('leased');
  const lease = (until: string) =>
    db.admin.query(
      `insert into private.credential_leases values ($1, $2, gen_random_uuid(), engine.now() + $3::interval)
       on conflict on constraint credential_leases_pkey do update set expires_at = excluded.expires_at`,
      [organizationId, id, until],
    );
  await lease('1 hour');
  let renewed: unknown;
  const waiting = fresh('leased').then((credential) => (renewed = credential.data['accessToken']));
  const asked = () => db.admin.query(`select from pg_stat_activity where query like '%lease_credential%' and datname = current_database()`);
  await expect.poll(async () => (await asked()).rowCount).toBeGreaterThan(0);
  expect([renewed, granted]).toEqual([undefined, 0]);
  await lease('-1 second');
  expect(await waiting).toEqual(expect.any(String));
  expect(granted).toBe(1);
  expect((await db.admin.query('select from private.credential_leases')).rowCount).toBe(0);
});

test('new tokens are stored as soon as the database answers again, and the provider is asked once', async () => {
  await oauthCredential('kept');
  await db.admin.query('create sequence private.failures; grant usage on sequence private.failures to flowgres_owner');
  await db.admin.query(`create function private.fail_twice() returns trigger language plpgsql as $$
    begin
      if nextval('private.failures') <= 2 then
        raise exception using errcode = '57P03', message = 'the database system is starting up';
      end if;
      return new;
    end $$`);
  await db.admin.query('create trigger fail_twice before update on private.secrets for each row execute function private.fail_twice()');
  try {
    const { data, version } = await process().fresh('kept');
    expect([granted, refused, version]).toEqual([1, [], 2]);
    expect((await process().open('kept')).data).toEqual(data);
    expect((await db.admin.query('select last_value::int as tries from private.failures')).rows).toEqual([{ tries: 3 }]);
  } finally {
    await db.admin.query('drop function private.fail_twice() cascade; drop sequence private.failures');
  }
});

test('a client gets tokens by its own secret, and uses them until they end', async () => {
  const data = { tokenUrl: `${issuer}/token`, clientId: 'flowgres', clientSecret: CLIENT_SECRET, authentication: 'post' };
  await createCredential(db, keys, acme, { name: 'client', type: 'oauth2ClientCredentials', data: { ...data, authentication: 'basic' } });
  const { fresh } = process();
  const first = await fresh('client');
  expect(first.data).toMatchObject({ accessToken: expect.any(String), tokenExpiresAt: expect.any(String) });
  expect((await fresh('client')).data['accessToken']).toBe(first.data['accessToken']);
  expect(granted).toBe(1);
  await expire('client');
  expect((await fresh('client')).data['accessToken']).not.toBe(first.data['accessToken']);
});

test.each([
  ['a wrong client secret', { clientSecret: 'topsecret wrong' }, 'OAUTH2_REFUSED'],
  ['a refresh token that was revoked', { refreshToken: 'topsecret revoked' }, 'OAUTH2_REFUSED'],
  ['no login', { refreshToken: undefined }, 'CREDENTIAL_INCOMPLETE'],
  ['a provider that is not there', { tokenUrl: 'http://127.0.0.1:1/topsecret' }, 'SSRF_BLOCKED'],
  ['a provider that answers no JSON', { tokenUrl: () => `http://${hostOf(peer)}/` }, 'OAUTH2_UNAVAILABLE'],
])('%s is an error that does not repeat the secrets', async (name, change, code) => {
  const given = Object.fromEntries(Object.entries(change).map(([key, value]) => [key, typeof value === 'function' ? value() : value]));
  await oauthCredential(name, given);
  const error = await process()
    .fresh(name)
    .catch((each: unknown) => each);
  expect(error).toMatchObject({ code });
  expect(JSON.stringify([String(error), error])).not.toMatch(/topsecret|planted client secret/);
  expect((await db.admin.query('select from private.credential_leases')).rowCount).toBe(0);
});

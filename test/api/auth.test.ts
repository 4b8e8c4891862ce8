import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';

let db: TestDatabase;
let acme: TestOrganization;
let server: TestServer;
beforeAll(async () => {
  db = await createTestDatabase();
  [acme, server] = [await createOrganization(db), await serveGraphql(db)];
});

const ME = '{ currentUser { id } currentOrganization { id } }';

async function sendHeader(authorization: string) {
  const response = await fetch(server.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json', authorization },
    body: JSON.stringify({ query: ME }),
  });
  // biome-ignore lint/suspicious/noExplicitAny: asserted below
  return { status: response.status, body: (await response.json()) as any };
}

async function createToken(): Promise<{ id: string; secret: string }> {
  const { createApiToken } = await server.data(
    acme.token,
    'mutation { createApiToken(input: { name: "temporary", scopes: [runs_read] }) { newApiToken { secret token { id } } } }',
  );
  return { secret: createApiToken.newApiToken.secret, id: createApiToken.newApiToken.token.id };
}

describe('a request', () => {
  test('with a token acts as its user in its organization', async () => {
    expect(await server.data(acme.token, ME)).toEqual({ currentUser: { id: acme.userId }, currentOrganization: { id: acme.id } });
  });

  test('with an unknown token or another scheme is answered 401', async () => {
    for (const authorization of ['Bearer fg_unknown', 'Bearer', 'Basic dXNlcjpwYXNz', `Bearer ${acme.token} ${acme.token}`, '']) {
      const { status, body } = await sendHeader(authorization);
      expect(status, authorization).toBe(401);
      expect(body).toMatchObject({ errors: [{ extensions: { code: 'UNAUTHENTICATED', hint: expect.stringContaining('Bearer') } }] });
    }
    expect((await sendHeader(`bearer ${acme.token}`)).status).toBe(200);
  });

  test('with a revoked or expired token is answered 401 within five seconds, over a WebSocket too', async () => {
    const [revoked, expired, watching] = [await createToken(), await createToken(), await createToken()];
    const client = server.subscribe(watching.secret);
    const ask = () => client.iterate({ query: ME }).next();
    expect((await ask()).value.data.currentOrganization).toEqual({ id: acme.id });
    for (const { secret } of [revoked, expired]) expect((await server.query(secret, ME)).status).toBe(200);
    for (const { id } of [revoked, watching]) {
      await server.data(acme.token, 'mutation ($id: UUID!) { revokeApiToken(input: { apiTokenId: $id }) { apiToken { revokedAt } } }', {
        id,
      });
    }
    await db.admin.query(`update private.api_tokens set expires_at = now() where id = $1`, [expired.id]);
    const answer = async () => [
      (await server.query(revoked.secret, ME)).status,
      (await server.query(expired.secret, ME)).status,
      await ask().catch(() => 'refused'),
    ];
    await expect.poll(answer, { interval: 250 }).toEqual([401, 401, 'refused']);
  });

  test('with a token that was just revoked sees nothing even while it is remembered', async () => {
    const { secret, id } = await createToken();
    expect((await server.data(secret, ME)).currentOrganization).toEqual({ id: acme.id });
    await db.admin.query('update private.api_tokens set revoked_at = now() where id = $1', [id]);
    const { status, data } = await server.query(secret, ME);
    expect(status === 401 || data.currentOrganization === null).toBe(true);
  });

  test('leaves nothing of itself for the next one on the same connection', async () => {
    const single = await serveGraphql(db, { maxConnections: 1 });
    for (let turn = 0; turn < 3; turn += 1) {
      expect((await single.data(acme.token, ME)).currentOrganization).toEqual({ id: acme.id });
      expect(await single.data(null, ME)).toEqual({ currentUser: null, currentOrganization: null });
    }
    await single.close();
  });
});

describe('a WebSocket', () => {
  test('sends its token in connectionParams', async () => {
    const client = server.subscribe(acme.token);
    const { value } = await client.iterate({ query: ME }).next();
    expect(value.data).toEqual({ currentUser: { id: acme.userId }, currentOrganization: { id: acme.id } });
  });

  test('with an invalid token is closed with 4401', async () => {
    const client = server.subscribe('fg_unknown');
    await expect(Promise.resolve(client.iterate({ query: ME }).next())).rejects.toMatchObject({ code: 4401 });
  });
});

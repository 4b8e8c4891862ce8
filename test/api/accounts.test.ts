import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { createOrganization } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';
import { createMember, createPerson, logIn, readCode, readMail } from '../helpers/people.ts';

const PASSWORD = 'correct horse battery';

let db: TestDatabase;
let server: TestServer;
beforeAll(async () => {
  db = await createTestDatabase();
  server = await serveGraphql(db);
});

const address = () => `${randomUUID().slice(0, 8)}@example.com`;

const REGISTER =
  'mutation ($name: String!, $email: String!, $password: String!) { registerUser(input: { name: $name, email: $email, password: $password }) { accepted } }';
const VERIFY = 'mutation ($code: String!) { verifyEmail(input: { code: $code }) { userId } }';
const LOGIN = `mutation ($email: String!, $password: String!) {
  login(input: { email: $email, password: $password, clientMutationId: "x" }) { clientMutationId session { secret expiresAt userId organizationId } } }`;
const ME = '{ currentUser { id email } }';

async function account(): Promise<{ id: string; email: string }> {
  const email = address();
  expect(await server.data(null, REGISTER, { name: 'Ada', email, password: PASSWORD })).toEqual({ registerUser: { accepted: true } });
  const { verifyEmail } = await server.data(null, VERIFY, { code: await readCode(db, email) });
  return { id: verifyEmail.userId, email };
}

async function post(path: string, body: unknown, headers: Record<string, string> = {}) {
  const response = await fetch(server.url.replace('/graphql', path), {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  // biome-ignore lint/suspicious/noExplicitAny: asserted below
  return { status: response.status, headers: response.headers, body: (await response.json()) as any };
}

describe('over GraphQL', () => {
  test('one registers, verifies, logs in, and is somebody', async () => {
    const { id, email } = await account();
    const { login } = await server.data(null, LOGIN, { email, password: PASSWORD });
    expect(login).toMatchObject({ clientMutationId: 'x', session: { userId: id, organizationId: null } });
    expect(new Date(login.session.expiresAt).getTime()).toBeGreaterThan(Date.now() + 29 * 86_400_000);
    expect(await server.data(login.session.secret, ME)).toEqual({ currentUser: { id, email } });
    const made = 'mutation { createOrganization(input: { name: "Mine", slug: "mine" }) { organization { id } } }';
    const { createOrganization: created } = await server.data(login.session.secret, made);
    const second = (await server.data(null, LOGIN, { email, password: PASSWORD })).login.session;
    expect(second.organizationId).toBe(created.organization.id);
    const { sessions } = await server.data(second.secret, '{ sessions { nodes { kind isCurrent userAgent ipPrefix } } }');
    expect(sessions.nodes).toHaveLength(2);
    expect(sessions.nodes[0]).toMatchObject({
      kind: 'login',
      isCurrent: true,
      userAgent: expect.stringContaining('node'),
      ipPrefix: '127.0.0.0/24',
    });
    await server.data(second.secret, 'mutation { logout(input: {}) { loggedOut } }');
    await expect.poll(async () => (await server.query(second.secret, ME)).status, { interval: 250 }).toBe(401);
  });

  test('a wrong password and an unknown address are refused alike', async () => {
    const { email } = await account();
    const [known, unknown] = [
      await server.query(null, LOGIN, { email, password: 'wrong' }),
      await server.query(null, LOGIN, { email: address(), password: 'wrong' }),
    ];
    expect(known.errors?.[0]?.extensions?.code).toBe('UNAUTHENTICATED');
    expect(known.errors).toEqual(unknown.errors);
  });

  test('a thousand wrong passwords are ten, and the right one then waits too', async () => {
    const { email } = await account();
    const guesses = await Promise.all(
      Array.from({ length: 60 }, (_, place) => server.query(null, LOGIN, { email, password: `guess ${place}` })),
    );
    const codes = guesses.map(({ errors }) => errors![0]!.extensions!.code!);
    expect(codes.filter((code) => code === 'UNAUTHENTICATED')).toHaveLength(10);
    expect(codes.filter((code) => code === 'RATE_LIMITED')).toHaveLength(50);
    const { errors } = await server.query(null, LOGIN, { email, password: PASSWORD });
    expect(errors?.[0]?.extensions).toMatchObject({ code: 'RATE_LIMITED', details: { retryAfterMs: expect.any(Number) } });
  });

  test('a password is changed by the old one and reset by a mail', async () => {
    const { email } = await account();
    const [here, there] = await Promise.all(
      [1, 2].map(async () => (await server.data(null, LOGIN, { email, password: PASSWORD })).login.session.secret),
    );
    const change =
      'mutation ($old: String!, $new: String!) { changePassword(input: { currentPassword: $old, password: $new }) { revokedSessions } }';
    const wrong = await server.query(here, change, { old: 'wrong', new: 'another password' });
    expect(wrong.errors?.[0]?.extensions?.code).toBe('FORBIDDEN');
    expect(await server.data(here, change, { old: PASSWORD, new: 'another password' })).toEqual({ changePassword: { revokedSessions: 1 } });
    await expect.poll(async () => (await server.query(there, ME)).status, { interval: 250 }).toBe(401);
    expect((await server.query(here, ME)).status).toBe(200);
    const request = 'mutation ($email: String!) { requestPasswordReset(input: { email: $email }) { accepted } }';
    expect(await server.data(null, request, { email })).toEqual(await server.data(null, request, { email: address() }));
    const reset = 'mutation ($code: String!, $new: String!) { resetPassword(input: { code: $code, password: $new }) { userId } }';
    await server.data(null, reset, { code: await readCode(db, email), new: 'a third password' });
    await server.data(null, LOGIN, { email, password: 'a third password' });
    expect((await server.query(null, change, { old: 'x', new: 'another password' })).errors?.[0]?.extensions?.code).toBe('UNAUTHENTICATED');
  });

  test.each([
    ['short', 'too short'],
    ['x'.repeat(1_025), 'longer than anybody types'],
    ['ü'.repeat(600), 'longer than that in bytes'],
  ])('refuses a password that is %s', async (password) => {
    const { errors } = await server.query(null, REGISTER, { name: 'Ada', email: address(), password });
    expect(errors?.[0]?.extensions).toMatchObject({ code: 'VALIDATION_FAILED', details: { field: 'password' } });
  });

  test('takes any character in a password, and the same letters however they are typed', async () => {
    const email = address();
    await server.data(null, REGISTER, { name: 'Ada', email, password: 'Pässwörter\u0000😀' });
    await server.data(null, VERIFY, { code: await readCode(db, email) });
    await server.data(null, LOGIN, { email, password: 'Pässwörter\u0000😀'.normalize('NFD') });
    const cut = await server.query(null, LOGIN, { email, password: 'Pässwörter' });
    expect(cut.errors?.[0]?.extensions?.code).toBe('UNAUTHENTICATED');
  });

  test('refuses a NUL where text is stored, without a word of SQL', async () => {
    for (const variables of [
      { name: 'A\u0000', email: address(), password: PASSWORD },
      { name: 'A', email: 'a\u0000@example.com', password: PASSWORD },
    ]) {
      const { errors } = await server.query(null, REGISTER, variables);
      expect(errors?.[0]?.extensions?.code).toBe('INVALID_TEXT');
    }
  });

  test('nobody writes a role, a verification or a foreign column', async () => {
    const { __schema } = await server.data(null, '{ __schema { mutationType { fields { name } } } }');
    const names = __schema.mutationType.fields.map(({ name }: { name: string }) => name);
    for (const name of ['updateUser', 'createUser', 'beginLogin', 'rehashPassword', 'openIdentitySession', 'linkIdentity', 'setContext']) {
      expect(names).not.toContain(name);
    }
  });
});

describe('over HTTP', () => {
  test('one registers, logs in and out with the same codes', async () => {
    const email = address();
    expect(await post('/auth/register', { name: 'Ada', email, password: PASSWORD })).toMatchObject({ status: 200, body: { result: true } });
    await server.data(null, VERIFY, { code: await readCode(db, email) });
    const { status, headers, body } = await post('/auth/login', { email, password: PASSWORD });
    expect([status, headers.get('cache-control'), headers.get('set-cookie')]).toEqual([200, 'no-store', null]);
    expect(body).toEqual({
      secret: expect.stringMatching(/^fs_/),
      expiresAt: expect.any(String),
      userId: expect.any(String),
      organizationId: null,
    });
    const authorization = `Bearer ${body.secret}`;
    expect(await post('/auth/logout', {}, { authorization })).toMatchObject({ status: 200, body: { result: true } });
    expect(await post('/auth/logout', {}, { authorization })).toMatchObject({ status: 401, body: { error: { code: 'UNAUTHENTICATED' } } });
  });

  test('answers bad requests with a code', async () => {
    const email = address();
    const cases: [string, unknown, Record<string, string>, number, string][] = [
      ['/auth/login', { email, password: 'wrong' }, {}, 401, 'UNAUTHENTICATED'],
      ['/auth/login', '{"email": ', {}, 400, 'INVALID_JSON'],
      ['/auth/login', { email }, {}, 400, 'VALIDATION_FAILED'],
      ['/auth/login', [], {}, 400, 'VALIDATION_FAILED'],
      ['/auth/login', { email, password: 'x'.repeat(2_000) }, {}, 400, 'VALIDATION_FAILED'],
      ['/auth/login', { email: { $ne: null }, password: 'x' }, {}, 400, 'VALIDATION_FAILED'],
      ['/auth/register', { name: 'A', email, password: PASSWORD, globalRole: 'super_admin' }, {}, 400, 'VALIDATION_FAILED'],
      ['/auth/register', { name: 'x'.repeat(20_000), email, password: PASSWORD }, {}, 413, 'TOO_LARGE'],
      ['/auth/login', 'email=a&password=b', { 'content-type': 'application/x-www-form-urlencoded' }, 415, 'UNSUPPORTED_MEDIA_TYPE'],
      ['/auth/logout', {}, {}, 401, 'UNAUTHENTICATED'],
      ['/auth/logout', {}, { authorization: 'Bearer nonsense' }, 401, 'UNAUTHENTICATED'],
      ['/auth/unknown', {}, {}, 404, 'NOT_FOUND'],
      ['/auth/login?access_token=x', { email, password: 'x' }, {}, 400, 'INVALID_ARGUMENT'],
    ];
    for (const [path, body, headers, status, code] of cases) {
      const answer = await post(path, body, headers);
      expect([answer.status, answer.body.error.code], JSON.stringify([path, body]).slice(0, 80)).toEqual([status, code]);
    }
    expect((await fetch(server.url.replace('/graphql', '/auth/login'))).status).toBe(405);
    expect(server.logged).toEqual([]);
  });

  test('a locked account says when to try again', async () => {
    const email = address();
    const answers = await Promise.all(Array.from({ length: 12 }, () => post('/auth/login', { email, password: 'wrong' })));
    const locked = answers.find(({ status }) => status === 429)!;
    expect(Number(locked.headers.get('retry-after'))).toBeGreaterThan(800);
  });
});

test('logging in takes as long for an address that has no account', async () => {
  // Parameters that cost enough to be told from noise, yet not a test's whole time.
  const slow = await serveGraphql(db, { scrypt: { ln: 14, r: 8, p: 1 } });
  const email = address();
  await slow.data(null, REGISTER, { name: 'Ada', email, password: PASSWORD });
  await slow.data(null, VERIFY, { code: await readCode(db, email) });
  const time = async (who: string) => {
    const startedAt = performance.now();
    await slow.query(null, LOGIN, { email: who, password: 'wrong' });
    return performance.now() - startedAt;
  };
  const [known, unknown]: number[][] = [[], []];
  for (let turn = 0; turn < 9; turn += 1) {
    known!.push(await time(email));
    unknown!.push(await time(address()));
  }
  const median = (times: number[]) => times.toSorted((a, b) => a - b)[4]!;
  expect(median(unknown!) / median(known!)).toBeGreaterThan(0.5);
  expect(median(unknown!) / median(known!)).toBeLessThan(2);
  await slow.close();
});

test('a password that was hashed with older parameters is hashed anew at the next login', async () => {
  const { id, email } = await account();
  const stored = async () => (await db.admin.query('select hash from private.passwords where user_id = $1', [id])).rows[0].hash;
  expect(await stored()).toMatch(/^\$scrypt\$ln=4,r=1,p=1\$/);
  const newer = await serveGraphql(db, { scrypt: { ln: 5, r: 2, p: 1 } });
  const { login } = await newer.data(null, LOGIN, { email, password: PASSWORD });
  expect(await stored()).toMatch(/^\$scrypt\$ln=5,r=2,p=1\$/);
  expect((await newer.query(login.session.secret, ME)).status).toBe(200);
  await newer.data(null, LOGIN, { email, password: PASSWORD });
  await newer.close();
});

describe('a secret', () => {
  test('that was cut or mistyped is refused without a query', async () => {
    const { secret } = await createPerson(db);
    for (const wrong of [secret.slice(0, -1), secret.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')), `fg_${secret.slice(3)}`]) {
      const answer = await server.query(wrong, ME);
      // Not the words for a secret that the database does not know.
      expect([answer.status, answer.errors?.[0]?.message]).toEqual([401, 'The token is incomplete or mistyped.']);
    }
  });

  test('in an address, or two of them, is refused', async () => {
    const acme = await createOrganization(db, 'Twice');
    const headers = { 'content-type': 'application/json', accept: 'application/json' };
    const body = JSON.stringify({ query: ME });
    const inAddress = await fetch(`${server.url}?access_token=${acme.token}`, { method: 'POST', headers, body });
    expect([inAddress.status, ((await inAddress.json()) as { error: { code: string } }).error.code]).toEqual([400, 'INVALID_ARGUMENT']);
    const { request } = await import('node:http');
    const status = await new Promise((resolve, reject) => {
      const sent = request(
        server.url,
        { method: 'POST', headers: { ...headers, authorization: [`Bearer ${acme.token}`, 'Bearer other'] } as never },
        (answer) => resolve(answer.statusCode),
      );
      sent.on('error', reject).end(body);
    });
    expect(status).toBe(400);
  });

  test('is noted as used, beside the request', async () => {
    const acme = await createOrganization(db, 'Used');
    const own = await serveGraphql(db);
    await own.data(acme.token, ME);
    await own.close();
    const { apiTokens } = await server.data(acme.token, '{ apiTokens { nodes { name lastUsedAt } } }');
    expect(apiTokens.nodes).toEqual([{ name: 'test', lastUsedAt: expect.any(String) }]);
  });

  test('of a member who was removed is answered 401 within five seconds', async () => {
    const acme = await createOrganization(db, 'Short');
    const member = await createMember(db, acme);
    const { createApiToken } = await server.data(
      member.secret,
      'mutation { createApiToken(input: { name: "mine", scopes: [organization_write] }) { newApiToken { secret } } }',
    );
    const { secret } = createApiToken.newApiToken;
    expect((await server.query(secret, ME)).status).toBe(200);
    await server.data(acme.token, 'mutation ($id: UUID!) { removeMember(input: { userId: $id }) { organizationUser { userId } } }', {
      id: member.id,
    });
    expect((await server.query(secret, '{ workflows { totalCount } }')).data?.workflows?.totalCount ?? 0).toBe(0);
    await expect.poll(async () => (await server.query(secret, ME)).status, { interval: 250 }).toBe(401);
  });
});

test('behind a proxy the client is who the proxy saw', async () => {
  const behind = await serveGraphql(db, { proxies: 1 });
  const { email } = await account();
  const login = (forwarded: string) =>
    fetch(behind.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json', 'x-forwarded-for': forwarded },
      body: JSON.stringify({ query: LOGIN, variables: { email, password: PASSWORD } }),
    });
  // What the client itself wrote stands further left.
  await login('203.0.113.9, 198.51.100.7');
  await login('nonsense');
  const { rows } = await db.admin.query(
    'select s.ip_prefix from private.sessions as s join users as u on u.id = s.user_id where u.email = $1 order by s.created_at',
    [email],
  );
  expect(rows).toEqual([{ ip_prefix: '198.51.100.0/24' }, { ip_prefix: '127.0.0.0/24' }]);
  await behind.close();
});

test('an invited person joins by the code of the mail', async () => {
  const acme = await createOrganization(db, 'Inviting');
  const { email } = await account();
  const { inviteMember } = await server.data(
    acme.token,
    'mutation ($email: String!) { inviteMember(input: { email: $email, role: admin }) { newInvitation { code invitation { id expiresAt } } } }',
    { email },
  );
  expect((await readMail(db, email))!.body).toContain(inviteMember.newInvitation.code);
  const { login } = await server.data(null, LOGIN, { email, password: PASSWORD });
  const { acceptInvitation } = await server.data(
    login.session.secret,
    'mutation ($code: String!) { acceptInvitation(input: { code: $code }) { organizationUser { role organization { name } user { email } } } }',
    { code: inviteMember.newInvitation.code },
  );
  expect(acceptInvitation.organizationUser).toEqual({ role: 'admin', organization: { name: 'Inviting' }, user: { email } });
  const { currentOrganization } = await server.data(
    login.session.secret,
    '{ currentOrganization { invitations { nodes { email acceptedAt } } members { totalCount } teams { totalCount } } }',
  );
  expect(currentOrganization).toEqual({
    invitations: { nodes: [{ email, acceptedAt: expect.any(String) }] },
    members: { totalCount: 2 },
    teams: { totalCount: 0 },
  });
});

test('a session may end others, by the API as in psql', async () => {
  const person = await createPerson(db);
  await logIn(db, person.id);
  const { revokeOtherSessions } = await server.data(person.secret, 'mutation { revokeOtherSessions(input: {}) { revokedSessions } }');
  expect(revokeOtherSessions).toEqual({ revokedSessions: 1 });
});

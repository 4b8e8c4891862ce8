/** Who may call a webhook: passwords, keys, tokens, signatures, addresses; what is answered, listed and delivered again. */
import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { sign as signGithub } from '@octokit/webhooks-methods';
import { SignJWT, exportJWK, exportSPKI, generateKeyPair } from 'jose';
import { Webhook } from 'standardwebhooks';
import Stripe from 'stripe';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FlowgresError } from '../../src/errors.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { type TestIntake, serveIntake } from '../helpers/intake.ts';
import { createCredential, createTestVault } from '../helpers/vault.ts';

const db = await createTestDatabase();
const vault = createTestVault();
let organization: TestOrganization;
let intake: TestIntake;
let behindProxy: TestIntake;
/** How far the intake's clock is from the machine's. */
let clockOffset = 0;
const problems: unknown[] = [];
const secrets = new Map<string, { type: string; data: Record<string, unknown>; version: number }>();
let opened = 0;

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const OTHER = 'whsec_AAAA9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const stripe = new Stripe('sk_test_0');

beforeAll(async () => {
  organization = await createOrganization(db);
  const options = {
    credentials: {
      open: async ({ name }: { name: string }) => {
        opened += 1;
        const found = secrets.get(name);
        if (!found) throw new FlowgresError('CREDENTIAL_NOT_FOUND', 'The organization has no such credential.');
        return { id: name, ...found };
      },
    },
    now: () => Date.now() + clockOffset,
    onProblem: (_message: string, error: unknown) => void problems.push(error),
    fetchKeys: { httpAllow: [] as string[] },
  };
  keyServer = createServer((_request, response) => void response.setHeader('content-type', 'application/json').end(published));
  await new Promise<void>((resolve) => keyServer.listen(0, '127.0.0.1', resolve));
  options.fetchKeys.httpAllow.push(`127.0.0.1:${(keyServer.address() as AddressInfo).port}`);
  intake = await serveIntake(db.url('flowgres_intake'), options);
  behindProxy = await serveIntake(db.url('flowgres_intake'), { ...options, proxies: 1 });
});
afterAll(async () => {
  await intake.close();
  await behindProxy.close();
  keyServer.close();
  expect(problems).toEqual([]);
});

let keyServer: ReturnType<typeof createServer>;
let published = '{"keys": []}';

/** What is stored, so that the webhook can be published; `give` says what the intake is given. */
const STORED: Record<string, { type: string; data: Record<string, unknown> }> = {
  basic: { type: 'basic', data: { username: 'ada', password: 'stored' } },
  header: { type: 'bearer', data: { token: 'stored' } },
  jwt: { type: 'jwt', data: { secret: 'a stored secret of thirty-two bytes' } },
  hmac: { type: 'hmac', data: { secrets: ['whsec_c3RvcmVk'] } },
};

let count = 0;
/** Publishes a webhook that answers with `template`; returns its path. */
async function hook(properties: Record<string, unknown>, template: unknown = '{{ $.input }}'): Promise<string> {
  count += 1;
  const path = `/h${count}`;
  const stored = STORED[String(properties['authentication'])];
  if (stored) await createCredential(db, await vault, organization, { name: path, ...stored });
  await publishWorkflow(
    organization,
    chain(
      {
        id: 'hook',
        type: 'webhookTrigger',
        properties: { path, respond: 'lastNode', ...properties },
        ...(stored ? { credentials: { auth: path } } : {}),
      },
      { id: 'end', type: 'transform', properties: { template } },
    ),
  );
  return path;
}

const give = (name: string, type: string, data: Record<string, unknown>) => secrets.set(name, { type, data, version: 1 });
const hmacHook = async (signature: Record<string, unknown>, more: Record<string, unknown> = {}, template?: unknown) => {
  const path = await hook({ authentication: 'hmac', signature, ...more }, template);
  give(path, 'hmac', { secrets: [SECRET] });
  return path;
};

interface Answer {
  status: number;
  headers: Headers;
  body: Record<string, unknown> & { error?: { code: string; message: string } };
  runId: string | null;
}
async function post(path: string, body: string, headers: Record<string, string> = {}, at = intake): Promise<Answer> {
  const response = await fetch(`${at.origin}/hooks/${organization.webhookKey}${path}`, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', ...headers },
  });
  const answer = (await response.json()) as Answer['body'];
  return { status: response.status, headers: response.headers, body: answer, runId: response.headers.get('flowgres-run-id') };
}
const runsAt = async (path: string) =>
  (
    await db.admin.query<{ runs: number }>(
      `select count(*)::int as runs from workflow_events where seq = 1 and payload #>> '{input,path}' = $1`,
      [path],
    )
  ).rows[0]!.runs;

let ids = 0;
function nextId(): string {
  ids += 1;
  return `msg_${ids}`;
}
function standard(body: string, { id = nextId(), secret = SECRET, at = Date.now() } = {}): Record<string, string> {
  const headers = { 'webhook-id': id, 'webhook-timestamp': String(Math.floor(at / 1_000)) };
  return { ...headers, 'webhook-signature': new Webhook(secret).sign(id, new Date(at), body) };
}
const BODY = '{"amount": 12345678901234567890, "name": "Zo\u00eb"}';

describe('a signed webhook', () => {
  test('starts a run by a right signature only, and tells nothing of why another one is wrong', async () => {
    const path = await hmacHook({ scheme: 'standard' });
    const answers = [
      await post(path, BODY, standard(BODY, { secret: OTHER })),
      await post(path, BODY, standard(`${BODY} `)),
      await post(path, BODY, standard(BODY, { at: Date.now() - 302_000 })),
    ];
    for (const { status, body } of answers) {
      expect([status, body]).toEqual([401, { error: { code: 'UNAUTHENTICATED', message: 'The request is not authenticated.' } }]);
    }
    expect(await runsAt(path)).toBe(0);
    const right = await post(path, BODY, standard(BODY));
    expect([right.status, right.body['body']]).toEqual([200, { amount: expect.any(Number), name: 'Zo\u00eb' }]);
    expect(await runsAt(path)).toBe(1);
  });

  test('counts no refused request against the plan', async () => {
    const path = await hmacHook({ scheme: 'github' });
    const used = async () =>
      (await organization.user.query<{ used: string }>(`select used from usage() where metric = 'executions_per_month'`)).rows[0]!.used;
    const before = await used();
    await post(path, BODY, { 'x-hub-signature-256': await signGithub(OTHER, BODY) });
    expect(await used()).toBe(before);
    expect((await post(path, BODY, { 'x-hub-signature-256': await signGithub(SECRET, BODY) })).status).toBe(200);
    expect(Number(await used())).toBe(Number(before) + 1);
  });

  test('says what is missing or malformed, with 400', async () => {
    const path = await hmacHook({ scheme: 'standard' });
    const headers = standard(BODY);
    const without = (name: string) => Object.fromEntries(Object.entries(headers).filter(([header]) => header !== name));
    for (const name of Object.keys(headers)) {
      const { status, body } = await post(path, BODY, without(name));
      expect([status, body.error?.code]).toEqual([400, 'SIGNATURE_MISSING']);
    }
    const { status, body } = await post(path, BODY, { ...headers, 'webhook-timestamp': '1e9' });
    expect([status, body.error?.code]).toEqual([400, 'SIGNATURE_MALFORMED']);
    expect(await runsAt(path)).toBe(0);
  });

  test('answers a replay with the run of the first, and another body with the same id with 409', async () => {
    const path = await hmacHook({ scheme: 'standard' });
    const headers = standard(BODY, { id: 'msg_1' });
    const [first, again] = [await post(path, BODY, headers), await post(path, BODY, headers)];
    expect([again.status, again.runId]).toEqual([200, first.runId]);
    expect((await post(path, '{}', standard('{}', { id: 'msg_1' }))).status).toBe(409);
    expect(await runsAt(path)).toBe(1);
  });
});

describe('what a signed webhook depends on', () => {
  test('takes a clock that is up to 5 minutes wrong, by the clock of the server', async () => {
    const path = await hmacHook({ scheme: 'standard' });
    try {
      clockOffset = 290_000;
      expect((await post(path, BODY, standard(BODY))).status).toBe(200);
      clockOffset = 310_000;
      expect((await post(path, BODY, standard(BODY))).status).toBe(401);
    } finally {
      clockOffset = 0;
    }
  });

  test('takes every active secret, and a new one within a second', async () => {
    const path = await hmacHook({ scheme: 'standard' });
    give(path, 'hmac', { secrets: [OTHER, SECRET] });
    for (const secret of [OTHER, SECRET]) expect((await post(path, BODY, standard(BODY, { secret }))).status).toBe(200);
    give(path, 'hmac', { secrets: [OTHER] });
    await expect.poll(async () => (await post(path, BODY, standard(BODY))).status).toBe(401);
  });

  test('opens its credential once for many requests', async () => {
    const path = await hmacHook({ scheme: 'standard' });
    const before = opened;
    await Promise.all(Array.from({ length: 20 }, () => post(path, BODY, standard(BODY))));
    expect(opened - before).toBeLessThan(5);
  });

  test.each([
    ['an empty secret', 'hmac', { secrets: [''] }, 'SECRET_UNUSABLE'],
    ['no secret', 'hmac', { secrets: [] }, 'SECRET_UNUSABLE'],
    ['a credential of another type', 'basic', { username: 'a', password: 'b' }, 'SECRET_UNUSABLE'],
    ['no credential', '', {}, 'CREDENTIAL_NOT_FOUND'],
  ])('with %s answers 503, so that its sender tries again', async (_what, type, data, reason) => {
    const path = await hmacHook({ scheme: 'standard' });
    if (type) give(path, type, data);
    else secrets.delete(path);
    const { status, body } = await post(path, BODY, standard(BODY));
    expect([status, body.error?.code]).toEqual([503, 'UNAVAILABLE']);
    await expect.poll(() => listed(path)).toEqual([expect.objectContaining({ status: 503, error: reason, run_id: null })]);
  });

  test('limits wrong signatures of a network, and lets a right one pass all the same', async () => {
    const path = await hmacHook({ scheme: 'standard' });
    const wrong = async () => (await post(path, BODY, standard(BODY, { secret: OTHER }))).status;
    const statuses: number[] = [];
    for (let attempt = 0; attempt < 25; attempt += 1) statuses.push(await wrong());
    expect(statuses.slice(0, 20)).toEqual(Array.from({ length: 20 }, () => 401));
    expect(statuses.at(-1)).toBe(429);
    const { status, headers } = await post(path, BODY, standard(BODY, { secret: OTHER }));
    expect([status, headers.get('retry-after')]).toEqual([429, '1']);
    expect((await post(path, BODY, standard(BODY))).status).toBe(200);
    expect(await runsAt(path)).toBe(1);
  });
});

describe('deliveries of other schemes', () => {
  test('Stripe starts one run for an event, however often it is sent', async () => {
    const path = await hmacHook({ scheme: 'stripe' }, { dedupe: '$.input.body.id' });
    const send = (event: Record<string, unknown>, timestamp = Math.floor(Date.now() / 1_000)) => {
      const payload = JSON.stringify(event);
      const header = stripe.webhooks.generateTestHeaderString({ payload, secret: SECRET, timestamp });
      return post(path, payload, { 'stripe-signature': header });
    };
    const first = await send({ id: 'evt_1', pending_webhooks: 2 });
    const again = await send({ id: 'evt_1', pending_webhooks: 1 }, Math.floor(Date.now() / 1_000) + 5);
    expect([first.status, again.status, again.runId]).toEqual([200, 200, first.runId]);
    expect((await send({ id: 'evt_2' })).runId).not.toBe(first.runId);
    expect(await runsAt(path)).toBe(2);
  });

  test('a request at once from many senders starts one run', async () => {
    const path = await hmacHook({ scheme: 'standard' }, { dedupe: '$.input.body.id' });
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) => {
        const body = `{"id": ${index % 2}}`;
        return post(path, body, standard(body));
      }),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 20 }, () => 200));
    expect(new Set(answers.map(({ runId }) => runId)).size).toBe(2);
  });

  test('a request without the value of dedupe has the id of its signature', async () => {
    const path = await hmacHook({ scheme: 'standard' }, { dedupe: '$.input.body.id' });
    const headers = standard('{}', { id: 'msg_1' });
    const [first, again] = [await post(path, '{}', headers), await post(path, '{}', headers)];
    expect(again.runId).toBe(first.runId);
  });

  test('GitHub tells deliveries apart by their id, also with the same body', async () => {
    const path = await hmacHook({ scheme: 'github' });
    const send = async (delivery: string) =>
      (await post(path, BODY, { 'x-hub-signature-256': await signGithub(SECRET, BODY), 'x-github-delivery': delivery })).runId;
    const first = await send('one');
    expect([await send('one'), await send('two')]).toEqual([first, expect.not.stringMatching(first!)]);
  });

  test('a generic scheme verifies what it describes', async () => {
    const path = await hmacHook({ scheme: 'generic', header: 'X-Sign', algorithm: 'sha512', encoding: 'base64', prefix: 'v1=' });
    const signature = createHmac('sha512', SECRET).update(BODY).digest('base64');
    expect((await post(path, BODY, { 'x-sign': `v1=${signature}` })).status).toBe(200);
    expect((await post(path, `${BODY}\n`, { 'x-sign': `v1=${signature}` })).status).toBe(401);
    expect(await runsAt(path)).toBe(1);
  });
});

describe('the raw body', () => {
  test('is in the input where an expression or the trigger asks for it, and nowhere else', async () => {
    const raw = Buffer.from(BODY).toString('base64');
    const asked = await hmacHook({ scheme: 'standard' }, {}, { raw: '{{ $.input.rawBody }}', all: '{{ $.input }}' });
    expect((await post(asked, BODY, standard(BODY))).body).toMatchObject({ raw, all: { rawBody: raw } });
    const always = await hmacHook({ scheme: 'standard' }, { rawBody: true });
    expect((await post(always, BODY, standard(BODY))).body).toMatchObject({ rawBody: raw });
    const never = await hmacHook({ scheme: 'standard' });
    expect((await post(never, BODY, standard(BODY))).body).not.toHaveProperty('rawBody');
  });
});

describe('a webhook with a password or a key', () => {
  const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` });

  test.each([
    ['basic', 'basic', { username: 'ada', password: 'p\u00e4ss:word' }, basic('ada:p\u00e4ss:word'), basic('ada:other')],
    ['header', 'bearer', { token: 'abcd' }, { authorization: 'Bearer abcd' }, { authorization: 'Bearer abce' }],
    ['header', 'apiKey', { in: 'header', name: 'X-Key', prefix: 'Key ', value: 'abcd' }, { 'x-key': 'Key abcd' }, { 'x-key': 'abcd' }],
  ])('takes the right one of %s by %s', async (authentication, type, data, right, wrong) => {
    const path = await hook({ authentication });
    give(path, type, data);
    expect((await post(path, BODY, right as Record<string, string>)).status).toBe(200);
    expect((await post(path, BODY, wrong as Record<string, string>)).status).toBe(401);
    expect(await runsAt(path)).toBe(1);
  });

  test('asks for a password as HTTP says, and stores none', async () => {
    const path = await hook({ authentication: 'basic' });
    give(path, 'basic', { username: 'ada', password: 'secret-password' });
    const { status, headers } = await post(path, BODY);
    expect([status, headers.get('www-authenticate')]).toEqual([401, 'Basic realm="webhook", charset="UTF-8"']);
    const right = await post(path, BODY, basic('ada:secret-password'));
    expect(right.body).toMatchObject({ headers: { authorization: '[redacted]' } });
  });

  test('refuses a network that guesses, also when it guesses right', async () => {
    const path = await hook({ authentication: 'basic' });
    give(path, 'basic', { username: 'ada', password: 'secret-password' });
    for (let attempt = 0; attempt < 21; attempt += 1) await post(path, BODY, basic('ada:wrong'));
    expect((await post(path, BODY, basic('ada:secret-password'))).status).toBe(429);
    const elsewhere = await post(path, BODY, { ...basic('ada:secret-password'), 'x-forwarded-for': '192.0.2.1' }, behindProxy);
    expect(elsewhere.status).toBe(200);
  });
});

describe('a webhook with tokens', async () => {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
  const secret = 'a secret that both have in common';
  const token = (changes: { alg?: string; key?: Parameters<SignJWT['sign']>[0]; expires?: string; issuer?: string } = {}) =>
    new SignJWT({})
      .setProtectedHeader({ alg: changes.alg ?? 'HS256', kid: 'one' })
      .setIssuer(changes.issuer ?? 'https://id.example.com')
      .setAudience('hooks')
      .setExpirationTime(changes.expires ?? '5m')
      .sign(changes.key ?? new TextEncoder().encode(secret));
  const call = async (path: string, jwt: string) => (await post(path, BODY, { authorization: `Bearer ${jwt}` })).status;
  const claims = { issuer: 'https://id.example.com', audience: 'hooks' };

  test('takes one of the secret, and none that has expired, is of another issuer, has no end, or is not signed', async () => {
    const path = await hook({ authentication: 'jwt' });
    give(path, 'jwt', { secret, ...claims });
    expect(await call(path, await token())).toBe(200);
    const unsigned = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from('{}').toString('base64url')}.`;
    const endless = await new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(new TextEncoder().encode(secret));
    for (const wrong of [await token({ expires: '-2m' }), await token({ issuer: 'https://other.example' }), unsigned, endless, 'x']) {
      expect(await call(path, wrong)).toBe(401);
    }
    expect(await runsAt(path)).toBe(1);
  });

  test('takes one of a public key, and none that uses that key as a secret', async () => {
    const pem = await exportSPKI(publicKey);
    const path = await hook({ authentication: 'jwt' });
    give(path, 'jwt', { publicKey: pem, ...claims });
    expect(await call(path, await token({ alg: 'ES256', key: privateKey }))).toBe(200);
    expect(await call(path, await token({ key: new TextEncoder().encode(pem) }))).toBe(401);
  });

  test('takes one of published keys, which are fetched through the guard', async () => {
    published = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256' }] });
    const path = await hook({ authentication: 'jwt' });
    const { port } = keyServer.address() as AddressInfo;
    give(path, 'jwt', { jwksUrl: `http://127.0.0.1:${port}/keys`, ...claims });
    const right = await token({ alg: 'ES256', key: privateKey });
    expect(await call(path, right)).toBe(200);
    const guarded = await hook({ authentication: 'jwt' });
    give(guarded, 'jwt', { jwksUrl: 'http://127.0.0.1:5432/keys', ...claims });
    expect(await call(guarded, right)).toBe(503);
  });
});

describe('a webhook for some addresses', () => {
  test('takes requests from its networks, as the trusted proxy saw them', async () => {
    const path = await hook({ allowCidrs: ['192.0.2.0/24', '2001:db8::/32', '198.51.100.7'] });
    const from = async (address: string, at = behindProxy) => (await post(path, BODY, { 'x-forwarded-for': address }, at)).status;
    const allowed = ['192.0.2.200', '2001:db8:1::1', '198.51.100.7', '::ffff:192.0.2.1'];
    for (const address of allowed) expect(await from(address)).toBe(200);
    for (const address of ['192.0.3.1', '2001:db9::1', '198.51.100.8', '192.0.2.1, 203.0.113.1', 'x'])
      expect(await from(address)).toBe(403);
    expect(await from('192.0.2.200', intake)).toBe(403);
    expect(await runsAt(path)).toBe(allowed.length);
  });
});

interface Listed {
  id: string;
  status: number;
  error: string | null;
  run_id: string | null;
  is_duplicate: boolean;
}
async function listed(path: string): Promise<Listed[]> {
  const text = 'select id, status, error, run_id, is_duplicate, latency_ms from webhook_deliveries where path = $1 order by id';
  return (await organization.user.query<Listed & Record<string, unknown>>(text, [path])).rows;
}

describe('the list of deliveries', () => {
  test('has each request with its answer, and why one was refused', async () => {
    const path = await hmacHook({ scheme: 'standard' });
    const headers = standard(BODY);
    const { runId } = await post(path, BODY, headers);
    await post(path, BODY, headers);
    await post(path, BODY, standard(BODY, { secret: OTHER }));
    await post(path, BODY);
    await expect
      .poll(() => listed(path))
      .toEqual([
        expect.objectContaining({ status: 200, error: null, run_id: runId, is_duplicate: false, latency_ms: expect.any(Number) }),
        expect.objectContaining({ status: 200, error: null, run_id: runId, is_duplicate: true }),
        expect.objectContaining({ status: 401, error: 'SIGNATURE_MISMATCH', run_id: null }),
        expect.objectContaining({ status: 400, error: 'SIGNATURE_MISSING', run_id: null }),
      ]);
  });

  test('delivers a request again as a new run, and none that was refused', async () => {
    const path = await hmacHook({ scheme: 'standard' });
    const { runId, body } = await post(path, BODY, standard(BODY));
    await post(path, BODY, standard(BODY, { secret: OTHER }));
    await expect.poll(() => listed(path)).toHaveLength(2);
    const [delivered, refused] = await listed(path);
    const again = (
      await organization.user.query<{ id: string; metadata: unknown }>('select id, metadata from redeliver_webhook($1)', [delivered!.id])
    ).rows[0]!;
    expect([again.id === runId, again.metadata]).toEqual([false, { redeliveryOf: runId }]);
    const { rows } = await organization.user.query<{ output: unknown }>(
      'select workflow_runs_output(r) as output from workflow_runs as r where id = $1',
      [again.id],
    );
    expect(rows[0]!.output).toEqual(body);
    await expect(organization.user.query('select redeliver_webhook($1)', [refused!.id])).rejects.toThrow('The request was refused');
  });
});

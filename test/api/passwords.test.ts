/** Hashing passwords: who waits for whom, and what is counted. */
import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { Accounts } from '../../src/accounts/accounts.ts';
import { ConnectionShare } from '../../src/limits/connection_share.ts';
import { type HashCaller, HashQueue, HASH_LIMITS } from '../../src/accounts/hash_queue.ts';
import { Passwords } from '../../src/accounts/passwords.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';

describe('the queue', () => {
  /** Work of one second each, and the order in which it began; the time passes when something waits for it. */
  function createQueue() {
    let time = 0;
    const queue = new HashQueue({
      now: () => time,
      async wait(ms) {
        rests.push(ms);
        await new Promise((resolve) => setImmediate(resolve));
        time += ms;
      },
    });
    const rests: number[] = [];
    const began: string[] = [];
    const ends: (() => void)[] = [];
    const run = (kind: HashCaller['kind'], network: string, name = network) =>
      queue.run({ kind, network }, () => {
        began.push(name);
        return new Promise<void>((resolve) => ends.push(resolve));
      });
    const endAll = async (work: Promise<unknown>[]) => {
      let isOver = false;
      void Promise.all(work).then(() => {
        isOver = true;
      });
      while (!isOver) {
        time += 1_000;
        ends.shift()?.();
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    return { run, began, rests, endAll };
  }

  test('takes networks in turns, and leaves a place for logins', async () => {
    const { run, began, endAll } = createQueue();
    const all = [
      ...Array.from({ length: 5 }, (_, place) => run('registration', 'flood', `flood ${place}`)),
      run('registration', 'person'),
      run('login', 'a', 'a 1'),
      run('login', 'a', 'a 2'),
      run('login', 'b'),
    ];
    await new Promise((resolve) => setImmediate(resolve));
    expect(began).toEqual(['flood 0', 'a 1']);
    await endAll(all);
    const order = (name: string) => began.indexOf(name);
    expect(order('person')).toBeLessThan(order('flood 2'));
    expect(order('b')).toBeLessThan(order('flood 2'));
    expect(began).toHaveLength(9);
  });

  test('takes three logins for each registration while both wait', async () => {
    const { run, began, endAll } = createQueue();
    const names = (kind: HashCaller['kind']) =>
      Array.from({ length: 8 }, (_, place) => run(kind, `${kind} ${place}`, kind === 'login' ? 'l' : 'r'));
    await endAll([...names('registration'), ...names('login')]);
    expect(began.join('')).toMatch(/^r(?:lll+r)*l*r*$/);
    expect(began).toHaveLength(16);
  });

  test('lets registrations rest for as long as the last one took, when there is nothing else to do, too', async () => {
    const { run, rests, endAll } = createQueue();
    await endAll(Array.from({ length: 4 }, (_, place) => run('registration', `network ${place}`)));
    expect(rests).toHaveLength(3);
    for (const rest of rests) expect(rest).toBeGreaterThanOrEqual(1_000);
  });

  test('refuses a network that has too many in it, and makes room for others in a full one', async () => {
    const { run, endAll } = createQueue();
    const refused: string[] = [];
    const start = (network: string) =>
      run('login', network).catch((error: { code: string }) => void refused.push(`${network} ${error.code}`));
    const all = [...Array.from({ length: HASH_LIMITS.atOnce + HASH_LIMITS.waitingOfNetwork + 3 }, () => start('flood'))];
    await new Promise((resolve) => setImmediate(resolve));
    expect(refused).toEqual(Array.from({ length: 3 }, () => 'flood TOO_BUSY'));
    for (const network of ['c', 'd', 'e', 'f']) for (let each = 0; each < 10; each += 1) all.push(start(network));
    expect(refused).toHaveLength(3);
    // Full: one of those with ten goes for somebody who is new, and who has as many as anybody is refused.
    all.push(start('person'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(refused).toHaveLength(4);
    expect(refused[3]).not.toContain('person');
    await endAll(all);
  });
});

describe('over HTTP', () => {
  const PASSWORD = 'correct horse battery';
  const SCRYPT = { ln: 13, r: 8, p: 1 };
  let db: TestDatabase;
  let server: TestServer;
  beforeAll(async () => {
    db = await createTestDatabase();
    server = await serveGraphql(db, { scrypt: SCRYPT, proxies: 1 });
  });
  const address = () => `${randomUUID().slice(0, 8)}@example.com`;
  async function post(path: string, body: unknown, from: string) {
    const response = await fetch(server.url.replace('/graphql', path), {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-forwarded-for': from },
      body: JSON.stringify(body),
    });
    const answer = (await response.json()) as { error?: { code: string } };
    return { code: answer.error?.code ?? 'ok', status: response.status, retryAfter: response.headers.get('retry-after') };
  }
  async function createAccount(): Promise<string> {
    const email = address();
    const hash = await new Passwords(SCRYPT).hash(PASSWORD);
    await db.admin.query(
      `with made as (insert into users (name, email, email_verified_at) values ('Ada', $1, now()) returning id)
       insert into private.passwords (user_id, hash, changed_at) select id, $2, now() from made`,
      [email, hash],
    );
    return email;
  }
  const used = async (parts: string[]): Promise<number> =>
    (await db.admin.query('select used from private.throttles where key = private.throttle_key($1)', [parts])).rows[0]?.used ?? 0;

  test('a flood of registrations keeps nobody from logging in, and what is refused for it counts nothing', async () => {
    const emails = await Promise.all(Array.from({ length: 15 }, createAccount));
    const flood = Array.from({ length: 60 }, () =>
      post('/auth/register', { name: 'x', email: address(), password: PASSWORD }, '192.0.2.1'),
    );
    const logins = emails.map((email, place) => post('/auth/login', { email, password: PASSWORD }, `198.51.${place}.1`));
    expect((await Promise.all(logins)).map(({ code }) => code)).toEqual(emails.map(() => 'ok'));
    const answers = await Promise.all(flood);
    const busy = answers.filter(({ code }) => code === 'TOO_BUSY');
    expect(busy.length).toBeGreaterThan(0);
    for (const { status, retryAfter } of busy) expect([status, Number(retryAfter) > 0]).toEqual([503, true]);
    expect(await used(['register from', '192.0.2.0/24'])).toBe(answers.filter(({ code }) => code === 'ok').length);
  });

  test('a login that the server is too busy for is no failed one', async () => {
    const passwords = new Passwords({ ln: 15, r: 8, p: 3 });
    const accounts = new Accounts(db.pool('flowgres_api'), passwords, new ConnectionShare(10, () => null));
    const email = address();
    const caller: HashCaller = { kind: 'login', network: '203.0.113.0/24' };
    const others = Array.from({ length: HASH_LIMITS.atOnce + HASH_LIMITS.waitingOfNetwork }, () => passwords.hash(PASSWORD, caller));
    const login = accounts.login({ 'flowgres.client_ip': '203.0.113.1' }, { email, password: 'wrong' });
    await expect(login).rejects.toMatchObject({ code: 'TOO_BUSY', details: { retryAfterMs: expect.any(Number) } });
    expect(await used(['login', email, '203.0.113.0/24'])).toBe(0);
    expect(await used(['login', email])).toBe(0);
    await Promise.all(others);
    await expect(accounts.login({ 'flowgres.client_ip': '203.0.113.1' }, { email, password: 'wrong' })).rejects.toMatchObject({
      code: 'WF004',
    });
    expect(await used(['login', email, '203.0.113.0/24'])).toBe(1);
  });

  test('a password is not hashed for a code that is none, nor for a name or an address that is none', async () => {
    const query = 'mutation ($code: String!) { resetPassword(input: { code: $code, password: "correct horse battery" }) { userId } }';
    const { errors } = await server.query(null, query, { code: 'nonsense' });
    expect(errors?.[0]?.extensions?.code).toBe('NOT_FOUND');
    expect(await used(['reset from', '127.0.0.0/24'])).toBe(0);
    expect((await post('/auth/register', { name: 'a\nb', email: address(), password: PASSWORD }, '192.0.2.200')).code).toBe(
      'VALIDATION_FAILED',
    );
  });

  test('requests are counted before anything is hashed', async () => {
    const limited = await serveGraphql(db, { rates: { token: null, anonymous: { perSecond: 0.01, burst: 3 } } });
    const ask = async () => {
      const response = await fetch(limited.url.replace('/graphql', '/auth/login'), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ email: address(), password: 'wrong' }),
      });
      return [response.status, response.headers.get('retry-after') !== null];
    };
    const answers = [];
    for (let each = 0; each < 4; each += 1) answers.push(await ask());
    expect(answers).toEqual([
      [401, false],
      [401, false],
      [401, false],
      [429, true],
    ]);
    await limited.close();
  });
});

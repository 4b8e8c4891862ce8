/** What a document may cost before anything of it is executed. */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { getIntrospectionQuery } from 'graphql';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { CpuBudget, priceOf } from '../../src/limits/cpu_budget.ts';
import { documentLimits, measureDocument } from '../../src/graphql/document_size.ts';
import { LIMITS } from '../../src/graphql/limits.ts';
import { Operations } from '../../src/graphql/persisted_operations.ts';
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

const limits = documentLimits(LIMITS.maxTokens);
/** What is too large about a document. */
const refused = (query: string, most = limits): unknown => {
  try {
    measureDocument(query, most);
    return undefined;
  } catch (error) {
    return (error as { extensions: { details: { what: string } } }).extensions.details.what;
  }
};
const many = (count: number, of: (place: number) => string) => Array.from({ length: count }, (_, place) => of(place)).join(' ');

describe('before it is validated a document is refused', () => {
  test.each([
    ['the same field 700 times', `{ ${'workflows{nodes{id}} '.repeat(140)} }`, 'pairs of fields for the same place'],
    [
      'the same field in many fragments',
      `{ ${many(100, () => '... { workflows { nodes { id } } }')} }`,
      'pairs of fields for the same place',
    ],
    ['many different fields beside each other', `{ ${many(160, (place) => `f${place}`)} }`, 'fields in one selection'],
    ['aliases', `{ ${many(40, (place) => `a${place}: x`)} }`, 'aliases'],
    [
      'aliases of a fragment that is used again',
      `{ ${many(11, (place) => `f${place} { ...a }`)} } fragment a on T { a: x b: x c: x }`,
      'aliases',
    ],
    ['directives', `{ x ${'@include(if: true) '.repeat(60)} }`, 'directives'],
    ['operations', many(101, (place) => `query q${place} { x }`), 'operations and fragments'],
    ['brackets in brackets', `{ a(b: ${'['.repeat(70)}${']'.repeat(70)}) }`, 'levels of brackets'],
    ['brackets that are never closed', '{a'.repeat(70), 'levels of brackets'],
    [
      'fragments in fragments',
      `{ ...f0 } ${many(8, (n) => `fragment f${n} on T { ${many(9, (m) => `p${m} { ...f${n + 1} }`)} }`)} fragment f8 on T { x }`,
      'uses of fragments',
    ],
    [
      'large fragments that are used often',
      `{ ${many(15, (n) => `a${n} { ...f }`)} } fragment f on T { ${many(100, (n) => `x${n}`)} }`,
      'fields',
    ],
  ])('for %s', (_name, query, what) => {
    expect(refused(query)).toBe(what);
  });

  test('in time that grows with its length only, and stops at the limit', () => {
    const time = (query: string) => {
      const startedAt = performance.now();
      for (let turn = 0; turn < 20; turn += 1) refused(query);
      return performance.now() - startedAt;
    };
    const million = `{ ${'a '.repeat(120_000)} }`;
    const short = `{ ${'a '.repeat(2_600)} }`;
    time(short);
    expect(time(million)).toBeLessThan(20 * time(short) + 200);
  });

  test('but one with a mistake is left to the validation, which says where it is', () => {
    expect(measureDocument('{ a(: }', limits)).toEqual({ tokens: 5, fields: 0 });
    expect(measureDocument('{ a "', limits)).toEqual({ tokens: 2, fields: 0 });
    expect(measureDocument('{ ...a } fragment a on T { ...a ...missing }', limits)).toMatchObject({ fields: 0 });
  });

  test('over HTTP and over a WebSocket', async () => {
    const query = `{ ${'workflows{nodes{id}} '.repeat(100)} }`;
    const { status, errors } = await server.query(acme.token, query);
    expect([status, errors?.[0]?.extensions?.code]).toEqual([200, 'TOO_LARGE']);
    const failed = await Promise.resolve(server.subscribe(acme.token).iterate({ query }).next()).catch((error: unknown) => error);
    expect(JSON.stringify(failed)).toContain('TOO_LARGE');
  });
});

describe('within the limits of a request without a token', () => {
  const anonymous = documentLimits(LIMITS.maxAnonymousTokens);

  test('is what tools ask to learn the schema', async () => {
    const full = getIntrospectionQuery({
      descriptions: true,
      specifiedByUrl: true,
      directiveIsRepeatable: true,
      schemaDescription: true,
      inputValueDeprecation: true,
      oneOf: true,
    });
    expect(measureDocument(full, anonymous).tokens).toBeLessThan(500);
    expect((await server.data(null, full)).__schema.types.length).toBeGreaterThan(50);
  });

  test('is every operation of the examples', async () => {
    const folder = join(import.meta.dirname, '../../examples/client/operations');
    const files = (await readdir(folder)).filter((file) => file.endsWith('.graphql'));
    expect(files.length).toBeGreaterThan(0);
    for (const file of files) expect(refused(await readFile(join(folder, file), 'utf8'), anonymous)).toBeUndefined();
  });
});

describe('the CPU that documents take', () => {
  const expensive = (seed: string, fields = 100) => `{ ${many(fields, (place) => `${seed}${place}`)} }`;
  const ask = (target: TestServer, token: string | null, query: string, forwarded = '192.0.2.1') =>
    fetch(target.url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json',
        'x-forwarded-for': forwarded,
        ...(token ? { authorization: `Bearer ${token}` } : {}),
      },
      body: JSON.stringify({ query }),
    });
  const big = `{ ${many(40, (place) => `a${place}: __typename`)} }`;
  // So little that one document spends it, and it does not come back within a test.
  let target: TestServer;
  beforeAll(async () => {
    const operations = new Operations(new Map([['big', big]]));
    target = await serveGraphql(db, { cpu: { token: 0.001, anonymous: 0.001 }, operations, proxies: 1 });
  });

  test('is refused when it is spent, with when to come again, and nobody else pays', async () => {
    expect((await ask(target, null, expensive('a'))).status).toBe(200);
    const answer = await ask(target, null, expensive('b'), '192.0.2.77');
    const { errors } = (await answer.json()) as { errors: { extensions: Record<string, unknown> }[] };
    expect([answer.status, errors[0]!.extensions]).toEqual([
      429,
      expect.objectContaining({ code: 'RATE_LIMITED', details: { retryAfterMs: expect.any(Number) } }),
    ]);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await ask(target, acme.token, expensive('c'))).status).toBe(200);
    expect((await ask(target, acme.token, expensive('d'))).status).toBe(429);
    const globex = await createOrganization(db, 'Globex');
    expect((await ask(target, globex.token, expensive('e'))).status).toBe(200);
    // What the server knows costs nothing.
    expect((await ask(target, null, expensive('a'))).status).toBe(200);
  });

  test('is counted over WebSockets as well', async () => {
    await ask(target, acme.token, expensive('f'));
    const iterator = target.subscribe(acme.token).iterate({ query: expensive('g') });
    const failed = await Promise.resolve(iterator.next()).catch((error: unknown) => error);
    expect(failed).toMatchObject([{ extensions: { code: 'RATE_LIMITED' } }]);
  });

  test('of documents that the server knows beforehand is not limited, nor is their size', async () => {
    // What was spent before may have come back a little: the first ones may still be admitted.
    const spent = [];
    for (let turn = 0; turn < 4 && spent.at(-1) !== 429; turn += 1) spent.push((await ask(target, null, expensive(`h${turn}x`))).status);
    expect(spent.at(-1)).toBe(429);
    const { data } = (await (await ask(target, null, big)).json()) as { data: object };
    expect(Object.keys(data)).toHaveLength(40);
  });

  test('of many requests at once lets through what the share pays for', async () => {
    const limited = await serveGraphql(db, { cpu: { token: 4, anonymous: 4 } });
    onTestFinished(() => limited.close());
    const valid = (seed: number) =>
      `{ ${many(20, (place) => `a${seed}_${place}: workflows(first: 1) { nodes { id name createdAt versions { nodes { version } } } }`)} }`;
    const answers = await Promise.all(Array.from({ length: 30 }, (_, seed) => ask(limited, acme.token, valid(seed))));
    const passed = answers.filter(({ status }) => status === 200).length;
    // 40 ms in a burst: a document of 400 tokens costs more than 20.
    expect(passed).toBeGreaterThanOrEqual(1);
    expect(passed).toBeLessThanOrEqual(5);
  });

  test('is charged again when a document that is known has to be planned again', async () => {
    const limited = await serveGraphql(db, { cpu: { token: 1, anonymous: 1 } });
    onTestFinished(() => limited.close());
    const names = many(30, (place) => `a${place}: workflows(first: 1) { nodes { id ... @include(if: $v${place % 6}) { name } } }`);
    const query = `query (${many(6, (place) => `$v${place}: Boolean!`)}) { ${names} }`;
    // Each choice of what is included is a plan of its own, of which two are kept.
    const status = async (choice: number) => {
      const variables = Object.fromEntries(Array.from({ length: 6 }, (_, place) => [`v${place}`, (choice & (1 << place)) !== 0]));
      const { status, errors } = await limited.query(acme.token, query, variables);
      expect(JSON.stringify(errors ?? '')).not.toContain('TOO_LARGE');
      return status;
    };
    const answers = [];
    for (let choice = 0; choice < 20; choice += 1) answers.push(await status(choice));
    expect(answers[0]).toBe(200);
    expect(answers.filter((each) => each === 200).length).toBeLessThan(6);
    expect(answers.at(-1)).toBe(429);
  });

  test('is not charged for a document whose plan is there', async () => {
    const limited = await serveGraphql(db, { cpu: { token: 4, anonymous: 4 } });
    onTestFinished(() => limited.close());
    const query = 'query ($first: Int) { workflows(first: $first) { nodes { id } } }';
    for (let first = 0; first < 50; first += 1) expect((await limited.query(acme.token, query, { first })).status).toBe(200);
  });
});

describe('the bucket of a caller', () => {
  /** A clock that passes only while something waits for it. */
  const withClock = (onWait: (ms: number) => void = () => undefined) => {
    const clock = {
      time: 0,
      now: () => clock.time,
      async wait(ms: number) {
        onWait(ms);
        clock.time += ms;
      },
    };
    return { clock, budget: new CpuBudget(clock) };
  };
  const [a, b] = [[{ key: 'a', perSecond: 50 }], [{ key: 'b', perSecond: 50 }]];
  const spend = async (budget: CpuBudget, shares: typeof a, ms: number) => {
    await budget.admit(shares, () => ms);
    budget.settle(shares, ms, ms);
  };

  test('that fills with time, up to ten seconds’ worth', async () => {
    const { clock, budget } = withClock();
    for (let turn = 0; turn < 21; turn += 1) await budget.admit(a, () => 25);
    // 525 of 500: the next waits for the rest, one after it for its price too.
    const before = clock.time;
    await budget.admit(a, () => 100);
    expect(clock.time - before).toBeLessThan(600);
    await expect(budget.admit(a, () => 1)).rejects.toMatchObject({
      extensions: { statusCode: 429, details: { retryAfterMs: expect.any(Number) } },
    });
    await budget.admit(b, () => 1);
    clock.time += 1_000_000;
    await budget.admit(a, () => 1);
  });

  test('out of which long pieces take the square of their length, but not more than fifteen seconds’ worth', async () => {
    const { clock, budget } = withClock();
    // Each leaves less than nothing, so that how long the next one waits says what is missing.
    const missingAfter = async (ms: number) => {
      clock.time += 1_000_000;
      await spend(budget, a, 500);
      clock.time += 5_000;
      await budget.admit(a, () => ms);
      const error: unknown = await budget.admit(a, () => 1).catch((caught: unknown) => caught);
      return (error as { extensions: { details: { retryAfterMs: number } } }).extensions.details.retryAfterMs * 0.05;
    };
    expect(await missingAfter(100)).toBe(400);
    expect(await missingAfter(125)).toBe(625);
    expect(await missingAfter(1_000)).toBe(750);
    expect([priceOf(10), priceOf(25), priceOf(50)]).toEqual([10, 25, 100]);
  });

  test('and what was estimated too high comes back', async () => {
    const { clock, budget } = withClock();
    for (let turn = 0; turn < 10; turn += 1) {
      await budget.admit(a, () => 100);
      budget.settle(a, 100, 5);
    }
    // 50 of 500 are gone.
    expect(clock.time).toBeLessThan(2_000);
  });

  test('leaves the loop free after each piece, for as long as it took, whoever is next', async () => {
    const waits: number[] = [];
    const { clock, budget } = withClock((ms) => waits.push(ms));
    const shares = (key: string) => [{ key, perSecond: 1_000 }];
    await budget.admit(shares('a'), () => 40);
    clock.time += 60;
    budget.settle(shares('a'), 40, 60);
    // 40 ms were expected, and twice that kept; it took longer.
    await budget.admit(shares('b'), () => 10);
    expect(waits).toEqual([60]);
    await budget.admit([], () => 1_000);
    expect(waits).toHaveLength(1);
  });
});

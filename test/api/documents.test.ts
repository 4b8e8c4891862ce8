/** What a document may cost before anything of it is executed. */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { getIntrospectionQuery } from 'graphql';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { CpuBudget } from '../../src/server/cpu_budget.ts';
import { documentLimits, measureDocument } from '../../src/server/document_size.ts';
import { LIMITS } from '../../src/server/limits.ts';
import { Operations } from '../../src/server/operations.ts';
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
    await ask(target, null, expensive('h'));
    expect((await ask(target, null, expensive('i'))).status).toBe(429);
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

  test('is a bucket that fills with time, up to ten seconds’ worth', () => {
    let now = 0;
    const budget = new CpuBudget(() => now);
    const shares = [{ key: 'a', perSecond: 50 }];
    budget.charge(shares, 500);
    expect(() => budget.require(shares)).not.toThrow();
    budget.charge(shares, 100);
    expect(() => budget.require(shares)).toThrow(
      expect.objectContaining({ extensions: expect.objectContaining({ details: { retryAfterMs: 2_000 } }) }),
    );
    expect(() => budget.require([{ key: 'b', perSecond: 50 }])).not.toThrow();
    now = 2_000;
    expect(() => budget.require(shares)).not.toThrow();
    now = 1_000_000;
    budget.charge(shares, 501);
    expect(() => budget.require(shares)).toThrow();
    // What was taken beforehand and not used comes back.
    budget.charge(shares, -400);
    expect(() => budget.require(shares)).not.toThrow();
  });
});

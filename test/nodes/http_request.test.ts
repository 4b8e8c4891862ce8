import { type IncomingMessage, type RequestListener, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { parseJson } from '../../src/json/json.ts';
import { executeNode } from '../../src/nodes/registry.ts';
import { describeFailure } from '../../src/nodes/types.ts';
import { Redactor } from '../../src/vault/redact.ts';
import { effectContext } from '../helpers/effect.ts';

interface Seen {
  method: string | undefined;
  url: string | undefined;
  headers: IncomingMessage['headers'];
  body: string;
}

let seen: Seen[] = [];
let respond: RequestListener = (_request, response) => response.end();
const first = createServer(handle);
const second = createServer(handle);
let config = { httpAllow: [] as string[] };
let origin = '';
let otherOrigin = '';

function handle(request: IncomingMessage, response: ServerResponse): void {
  let body = '';
  request.on('data', (chunk) => (body += chunk));
  request.on('end', () => {
    seen.push({ method: request.method, url: request.url, headers: request.headers, body });
    respond(request, response);
  });
}

beforeAll(async () => {
  for (const server of [first, second]) await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const [port, otherPort] = [first, second].map((server) => (server.address() as AddressInfo).port);
  config = { httpAllow: [`127.0.0.1:${port}`, `127.0.0.1:${otherPort}`] };
  origin = `http://127.0.0.1:${port}`;
  otherOrigin = `http://127.0.0.1:${otherPort}`;
});
afterAll(() => {
  for (const server of [first, second]) {
    server.close();
    server.closeAllConnections();
  }
});
beforeEach(() => {
  seen = [];
  respond = (_request, response) => response.end();
});

interface Output {
  status: number;
  headers: Record<string, string | string[]>;
  body: unknown;
}

async function send(properties: Record<string, unknown>, signal = new AbortController().signal): Promise<Output> {
  const result = await executeNode(
    'httpRequest@1',
    effectContext({ properties: { url: `${origin}/`, ...properties }, config, signal, idempotencyKey: 'run-1/notify' }),
  );
  return result.output as Output;
}

/** The failure of an attempt as the engine records it. */
const failureOf = (properties: Record<string, unknown>, signal?: AbortSignal) =>
  send(properties, signal).then(() => 'no failure', describeFailure);

const reply = (status: number, headers: Record<string, string>, body: string | Buffer = '') => {
  respond = (_request, response) => response.writeHead(status, headers).end(body);
};

test.each(['9007199254740993', '123456789012345678901234567890', '123456789012345.678', '1234567890.12345678901', '1.10'])(
  'the number %s keeps its digits, in the request and in the answer',
  async (number) => {
    reply(200, { 'content-type': 'application/json' }, `{"v":${number}}`);
    const v = parseJson(number);
    const { body } = await send({ method: 'POST', body: { v }, query: { v, list: [v] }, headers: { 'x-v': v } });
    expect(JSON.stringify(body)).toBe(`{"v":${number}}`);
    const text = number === '1.10' ? '1.1' : number;
    expect(seen).toMatchObject([{ body: `{"v":${number}}`, url: `/?v=${text}&list=${text}`, headers: { 'x-v': text } }]);
  },
);

test.each(['{"a":1e9999999}', '{"a":1e-9999999}', `[${Array(60).fill('1e130000').join()}]`, `${'['.repeat(65)}${']'.repeat(65)}`])(
  'the answer %.30s fails the node',
  async (body) => {
    reply(200, { 'content-type': 'application/json' }, body);
    expect(await failureOf({})).toMatchObject({ code: 'INVALID_RESPONSE', retryable: false });
  },
);

describe('the request', () => {
  test('has the method, query, headers and JSON body that the properties say, and the idempotency key', async () => {
    await send({
      method: 'POST',
      url: `${origin}/orders?a=1`,
      query: { b: 'x y', c: [1, true], d: null },
      headers: { 'X-Custom': 'ä', 'content-type': 'application/vnd.api+json' },
      body: { id: 7 },
    });
    expect(seen[0]).toMatchObject({
      method: 'POST',
      url: '/orders?a=1&b=x+y&c=1&c=true',
      headers: { 'x-custom': 'ä', 'content-type': 'application/vnd.api+json', 'idempotency-key': 'run-1/notify' },
      body: '{"id":7}',
    });
  });

  test('carries a form', async () => {
    await send({ method: 'POST', bodyType: 'form', body: { name: 'a&b', tags: ['x', 2], none: null } });
    expect(seen[0]).toMatchObject({
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: 'name=a%26b&tags=x&tags=2&none=',
    });
  });

  test('carries text and bytes as they are', async () => {
    await send({ method: 'PUT', bodyType: 'raw', body: 'plain' });
    await send({ method: 'PUT', bodyType: 'raw', body: { base64: Buffer.from('bytes').toString('base64') } });
    expect(seen).toMatchObject([
      { headers: { 'content-type': 'text/plain; charset=utf-8' }, body: 'plain' },
      { headers: { 'content-type': 'application/octet-stream' }, body: 'bytes' },
    ]);
  });

  test.each([
    ['Host', 'evil.example'],
    ['Content-Length', '5'],
    ['Transfer-Encoding', 'chunked'],
    ['Connection', 'upgrade'],
    ['Proxy-Authorization', 'x'],
    ['Idempotency-Key', 'mine'],
    ['X-A', 'a\r\nX-B: b'],
    ['X-A', 'a\nb'],
    ['X-A', 'a\0b'],
    ['X-A', 'Ω'],
    ['X A', 'a'],
    ['X-A\r\nX-B', 'a'],
    ['', 'a'],
    ['X-A', 'x'.repeat(20_000)],
  ])('refuses the header %j: %j', async (name, value) => {
    expect(await failureOf({ headers: { [name]: value } })).toMatchObject({ code: 'INVALID_REQUEST', retryable: false });
    expect(seen).toEqual([]);
  });

  test.each([[{ method: 'BREW' }], [{ method: 'GET\r\nX: y' }], [{ url: 5 }], [{ bodyType: 'xml' }], [{ query: { a: {} } }]])(
    'refuses the properties %j',
    async (properties) => {
      expect(await failureOf(properties)).toMatchObject({ code: 'VALIDATION_FAILED', retryable: false });
    },
  );
});

describe('the response', () => {
  test('is parsed when it is JSON, and large numbers keep their digits', async () => {
    reply(201, { 'content-type': 'application/problem+json; charset=utf-8', 'x-a': 'b' }, '{"id": 12345678901234567890, "ok": true}');
    const output = await send({});
    expect(output).toMatchObject({ status: 201, headers: { 'x-a': 'b' }, body: { ok: true } });
    expect(JSON.stringify(output.body)).toBe('{"id":12345678901234567890,"ok":true}');
  });

  test('is text in its own charset, bytes in base64, or null', async () => {
    reply(200, { 'content-type': 'text/plain; charset=iso-8859-1' }, Buffer.from([0xe4]));
    expect(await send({})).toMatchObject({ body: 'ä' });
    reply(200, { 'content-type': 'image/png' }, Buffer.from([1, 2, 3]));
    expect(await send({})).toMatchObject({ body: { base64: 'AQID' } });
    reply(204, {});
    expect(await send({})).toMatchObject({ status: 204, body: null });
    reply(200, { 'content-type': 'image/png' }, 'text after all');
    expect(await send({ responseType: 'text' })).toMatchObject({ body: 'text after all' });
  });

  test.each([
    ['gzip', gzipSync('{"a":1}')],
    ['br', brotliCompressSync('{"a":1}')],
    ['gzip, br', brotliCompressSync(gzipSync('{"a":1}'))],
    ['identity', Buffer.from('{"a":1}')],
  ])('is decoded from %s', async (encoding, bytes) => {
    reply(200, { 'content-type': 'application/json', 'content-encoding': encoding }, bytes);
    expect(await send({})).toMatchObject({ body: { a: 1 } });
  });

  test('that says it is JSON and is not fails', async () => {
    reply(200, { 'content-type': 'application/json' }, '<html>');
    expect(await failureOf({})).toMatchObject({ code: 'INVALID_RESPONSE', retryable: false });
    reply(200, { 'content-type': 'application/json' }, `${'['.repeat(100)}${']'.repeat(100)}`);
    expect(await failureOf({})).toMatchObject({ code: 'INVALID_RESPONSE' });
  });

  test('of more than 64 KiB is read when there is memory for it, as much as it announces or 10 MiB', async () => {
    const reserved: number[] = [];
    const waiting = Promise.withResolvers<void>();
    const reserve = (bytes: number) => {
      reserved.push(bytes);
      return waiting.promise;
    };
    const get = () => executeNode('httpRequest@1', effectContext({ properties: { url: `${origin}/` }, config, reserve }));
    reply(200, { 'content-type': 'text/plain' }, 'x'.repeat(64 * 1024));
    await get();
    expect(reserved).toEqual([]);
    const body = 'y'.repeat(300_000);
    reply(200, { 'content-type': 'text/plain', 'content-length': '300000' }, body);
    let done = false;
    const answer = get().finally(() => {
      done = true;
    });
    await expect.poll(() => reserved).toEqual([300_000]);
    expect(done).toBe(false);
    waiting.resolve();
    expect((await answer).output).toMatchObject({ body });
    reply(200, { 'content-type': 'text/plain', 'content-encoding': 'gzip' }, gzipSync(body));
    await get();
    expect(reserved).toEqual([300_000, 10 * 1024 * 1024]);
  });

  test('of more than 10 MiB is cut, announced or not, compressed or not', async () => {
    reply(200, { 'content-length': String(11 * 2 ** 20) });
    expect(await failureOf({})).toMatchObject({ code: 'TOO_LARGE', retryable: false });
    respond = (_request, response) => {
      const more = () => response.write(Buffer.alloc(2 ** 20)) && setImmediate(more);
      response.on('drain', more).on('error', () => undefined);
      more();
    };
    expect(await failureOf({})).toMatchObject({ code: 'TOO_LARGE' });
    const bomb = gzipSync(Buffer.alloc(100 * 2 ** 20));
    expect(bomb.length).toBeLessThan(2 ** 20);
    reply(200, { 'content-type': 'text/plain', 'content-encoding': 'gzip' }, bomb);
    expect(await failureOf({})).toMatchObject({ code: 'TOO_LARGE' });
  });

  test('with headers without end or encodings without end is refused', async () => {
    respond = (_request, response) => {
      for (let index = 0; index < 1000; index += 1) response.setHeader(`x-${index}`, 'x'.repeat(100));
      response.end();
    };
    expect(await failureOf({})).toMatchObject({ code: 'TOO_LARGE' });
    reply(200, { 'content-encoding': 'gzip, gzip, gzip' }, 'x');
    expect(await failureOf({})).toMatchObject({ code: 'INVALID_RESPONSE' });
  });

  test('that breaks off is worth another attempt', async () => {
    respond = (_request, response) => {
      response.writeHead(200, { 'content-length': '100' });
      response.write('half', () => response.destroy());
    };
    expect(await failureOf({})).toMatchObject({ code: 'INVALID_RESPONSE', retryable: true });
    respond = (request) => request.socket.destroy();
    expect(await failureOf({})).toMatchObject({ code: 'HTTP_CONNECTION', retryable: true });
  });
});

describe('a status of 400 and above is a failure', () => {
  test.each([408, 425, 429, 500, 502, 503, 504])('%i is retried', async (status) => {
    reply(status, { 'content-type': 'text/plain' }, 'later');
    expect(await failureOf({})).toMatchObject({ code: 'HTTP_STATUS', retryable: true, details: { status, body: 'later' } });
  });

  test.each([400, 401, 403, 404, 409, 410, 418, 422])('%i is not', async (status) => {
    reply(status, {});
    expect(await failureOf({})).toMatchObject({ code: 'HTTP_STATUS', retryable: false, details: { status } });
  });

  test('Retry-After is honoured, in seconds and as a date, up to an hour', async () => {
    reply(429, { 'retry-after': '7' });
    expect(await failureOf({})).toMatchObject({ retryAfterMs: 7_000 });
    reply(503, { 'retry-after': new Date(Date.now() + 60_000).toUTCString() });
    const { retryAfterMs } = (await failureOf({})) as { retryAfterMs: number };
    expect(retryAfterMs).toBeGreaterThan(50_000);
    expect(retryAfterMs).toBeLessThanOrEqual(60_000);
    reply(503, { 'retry-after': '86400' });
    expect(await failureOf({})).toMatchObject({ retryAfterMs: 3_600_000 });
    reply(503, { 'retry-after': 'soon' });
    expect(await failureOf({})).not.toHaveProperty('retryAfterMs');
  });
});

describe('redirects', () => {
  const redirectTo = (location: string, status = 302) => {
    respond = (request, response) => {
      if (request.url === '/' && request.headers.host === new URL(origin).host) response.writeHead(status, { location }).end();
      else response.end('there');
    };
  };

  test('are followed; a POST becomes a GET unless the status forbids it', async () => {
    redirectTo('/next', 302);
    expect(await send({ method: 'POST', body: { a: 1 }, responseType: 'text' })).toMatchObject({ status: 200, body: 'there' });
    redirectTo('/next', 307);
    await send({ method: 'POST', body: { a: 1 } });
    expect(seen.map(({ method, url, body }) => [method, url, body])).toEqual([
      ['POST', '/', '{"a":1}'],
      ['GET', '/next', ''],
      ['POST', '/', '{"a":1}'],
      ['POST', '/next', '{"a":1}'],
    ]);
  });

  test('to another host lose Authorization and Cookie, to the same host keep them', async () => {
    const headers = { Authorization: 'Bearer x', Cookie: 'a=b', 'X-Other': 'kept' };
    redirectTo(`${otherOrigin}/there`);
    await send({ headers });
    redirectTo('/there');
    await send({ headers });
    expect(seen[1]?.headers).not.toHaveProperty('authorization');
    expect(seen[1]?.headers).not.toHaveProperty('cookie');
    expect(seen[1]?.headers).toMatchObject({ 'x-other': 'kept', 'idempotency-key': 'run-1/notify' });
    expect(seen[3]?.headers).toMatchObject({ authorization: 'Bearer x', cookie: 'a=b' });
  });

  test.each([
    'http://127.0.0.1:1/',
    'http://169.254.169.254/latest/',
    'http://[::ffff:127.0.0.1]/',
    'file:///etc/passwd',
    'ftp://example.com/',
    '//10.0.0.1/',
  ])('to %s are refused like first requests', async (location) => {
    redirectTo(location);
    expect(await failureOf({})).toMatchObject({ code: 'SSRF_BLOCKED', retryable: false });
    expect(seen).toHaveLength(1);
  });

  test('end after five, and can be turned off', async () => {
    respond = (_request, response) => response.writeHead(302, { location: '/' }).end();
    expect(await failureOf({})).toMatchObject({ code: 'TOO_MANY_REDIRECTS', retryable: false });
    expect(seen).toHaveLength(6);
    expect(await send({ followRedirects: false })).toMatchObject({ status: 302, headers: { location: '/' } });
  });
});

describe('an aborted attempt', () => {
  test('ends at once, before the answer or in the middle of it', async () => {
    respond = () => undefined;
    const reason = new Error('time is up');
    for (const inTheMiddle of [false, true]) {
      respond = (_request, response) => void (inTheMiddle && response.write('slow'));
      const controller = new AbortController();
      const failure = send({}, controller.signal).catch((error: unknown) => error);
      await expect.poll(() => seen.length).toBe(inTheMiddle ? 2 : 1);
      controller.abort(reason);
      expect(await failure).toBe(reason);
    }
  });
});

test('what a URL says stays as it is beside the property query', async () => {
  await send({ url: `${origin}/q?sig=a%20b~(c)&latin=%E4&plus=1%2B1`, query: { y: 'ä b', list: [1, 2] } });
  await send({ url: `${origin}/q`, query: { y: 1 } });
  await send({ url: `${origin}/q?`, query: {} });
  expect(seen.map(({ url }) => url)).toEqual(['/q?sig=a%20b~(c)&latin=%E4&plus=1%2B1&y=%C3%A4+b&list=1&list=2', '/q?y=1', '/q']);
});

test('several cookies stay several, those of redirects first', async () => {
  const cookies = ['a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT', 'b=2; HttpOnly'];
  respond = (request, response) => {
    if (request.url === '/end') response.writeHead(200, { 'set-cookie': cookies }).end();
    else response.writeHead(302, { location: '/end', 'set-cookie': 'first=1' }).end();
  };
  expect((await send({})).headers).toMatchObject({ 'set-cookie': ['first=1', ...cookies] });
  reply(200, { 'set-cookie': 'only=1' });
  expect((await send({})).headers).toMatchObject({ 'set-cookie': ['only=1'] });
});

test('a redirect that drops the body drops what described it, and a request without a body says so', async () => {
  respond = (request, response) => {
    if (request.url === '/end') response.end();
    else response.writeHead(303, { location: '/end' }).end();
  };
  await send({ method: 'PUT', body: { a: 1 }, headers: { 'Content-Language': 'en', 'X-Kept': 'yes' } });
  expect(seen[1]).toMatchObject({ method: 'GET', body: '', headers: { 'x-kept': 'yes' } });
  expect(Object.keys(seen[1]!.headers).filter((name) => name.startsWith('content-'))).toEqual([]);
  seen = [];
  respond = (_request, response) => response.end();
  await send({ method: 'POST' });
  expect(seen[0]!.headers['content-length']).toBe('0');
});

test.each([
  ['an answer that is an error', 500, 'text/plain', 1_990],
  ['an answer that is no JSON', 200, 'application/json', 190],
])('a secret in %s is replaced before the text is cut', async (_, status, type, before) => {
  const redactor = new Redactor();
  redactor.add(['a-secret-of-the-step']);
  reply(status, { 'content-type': type }, `${'x'.repeat(before)}a-secret-of-the-step`);
  const context = effectContext({ properties: { url: `${origin}/` }, config, redact: (text) => redactor.text(text) });
  const failure = await executeNode('httpRequest@1', context).then(() => 'no failure', describeFailure);
  expect(JSON.stringify(failure)).toContain('x'.repeat(before));
  expect(JSON.stringify(failure)).not.toContain('a-s');
});

/** The HTTP server around the parts: what every answer has, and who may read the metrics. */
import { expect, onTestFinished, test } from 'vitest';
import { type HttpOptions, startHttp } from '../../src/http/server.ts';
import { pagePolicy } from '../../src/http/page_policy.ts';

async function serve(options: Partial<HttpOptions> = {}): Promise<string> {
  const server = await startHttp({ host: '127.0.0.1', port: 0, ...options });
  onTestFinished(() => server.close(0));
  server.add({
    graphql: (_request, response) => response.writeHead(200, { 'content-type': 'text/html', 'content-security-policy': 'own' }).end('x'),
    problems: async () => [],
  });
  return server.url;
}

test.each(['/healthz', '/readyz', '/metrics', '/hooks/nowhere', '/auth/login'])(
  '%s is nothing that a browser would run or frame',
  async (path) => {
    const { headers } = await fetch(`${await serve()}${path}`);
    expect(Object.fromEntries(headers)).toMatchObject({
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      'referrer-policy': 'no-referrer',
    });
  },
);

test('a page has a policy of its own', async () => {
  const { headers } = await fetch(`${await serve()}/`);
  expect([headers.get('content-security-policy'), headers.get('x-content-type-options')]).toEqual(['own', 'nosniff']);
  const policy = pagePolicy('<script src="/a.js"></script><script>let a = 1</script><script type="module">b()</script>');
  expect(policy).toMatch(/script-src 'self' 'sha256-[\w+/=]+' 'sha256-[\w+/=]+';/);
  expect(policy).not.toMatch(/script-src[^;]*unsafe/);
});

const TOKEN = 'a token of the test';
const read = async (url: string, headers: Record<string, string> = {}) => (await fetch(`${url}/metrics`, { headers })).status;

test('without a rule anybody reads the metrics', async () => {
  expect(await read(await serve(), { 'x-forwarded-for': '203.0.113.7' })).toBe(200);
});

test('with one, readers on this machine do, and those with the token; not who comes through a proxy on this machine', async () => {
  const url = await serve({ metrics: { token: TOKEN } });
  const remote = { 'x-forwarded-for': '203.0.113.7' };
  expect(await read(url)).toBe(200);
  expect(await read(url, remote)).toBe(401);
  expect(await read(url, { forwarded: 'for=203.0.113.7' })).toBe(401);
  expect(await read(url, { ...remote, authorization: `Bearer ${TOKEN}` })).toBe(200);
  expect(await read(url, { ...remote, authorization: `Bearer ${TOKEN}x` })).toBe(401);
  const closed = await serve({ metrics: { token: undefined } });
  expect(await read(closed, { ...remote, authorization: 'Bearer undefined' })).toBe(401);
});

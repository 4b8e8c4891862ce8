import { type IncomingMessage, type RequestListener, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { allowsHost } from '../../src/nodes/authenticate.ts';
import { executeNode } from '../../src/nodes/registry.ts';
import type { OpenCredential } from '../../src/vault/credentials.ts';
import { effectContext } from '../helpers/effect.ts';

let seen: { host: string | undefined; url: string | undefined; headers: IncomingMessage['headers'] }[] = [];
let respond: RequestListener;
const [first, second] = [createServer(handle), createServer(handle)];
const hosts: string[] = [];

function handle(...[request, response]: Parameters<RequestListener>): void {
  seen.push({ host: request.headers.host, url: request.url, headers: request.headers });
  respond(request, response);
}

beforeAll(async () => {
  for (const server of [first, second]) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    hosts.push(`127.0.0.1:${(server.address() as AddressInfo).port}`);
  }
});
afterAll(() => {
  for (const server of [first, second]) server.close().closeAllConnections();
});
beforeEach(() => {
  seen = [];
  respond = (_request, response) => response.end();
});

const credential = (type: string, data: Record<string, unknown>, allowedHosts = [hosts[0]!]): OpenCredential => ({
  id: 'c1',
  organizationId: 'o1',
  name: 'crm',
  type,
  version: 1,
  data,
  allowedHosts,
  expiresAt: null,
});

const send = (auth: OpenCredential, properties: Record<string, unknown> = {}) =>
  executeNode(
    'httpRequest@1',
    effectContext({ properties: { url: `http://${hosts[0]}/a?b=1`, ...properties }, credentials: { auth }, config: { httpAllow: hosts } }),
  );

describe('httpRequest sends a credential', () => {
  test.each([
    ['basic', { username: 'ada', password: 'opensesame' }, { authorization: 'Basic YWRhOm9wZW5zZXNhbWU=' }],
    ['bearer', { token: 'topsecret' }, { authorization: 'Bearer topsecret' }],
    ['apiKey', { in: 'header', name: 'X-Api-Key', prefix: 'Key ', value: 'topsecret' }, { 'x-api-key': 'Key topsecret' }],
    ['openaiCompatible', { baseUrl: 'https://x.example', apiKey: 'topsecret' }, { authorization: 'Bearer topsecret' }],
    ['oauth2ClientCredentials', { accessToken: 'topsecret' }, { authorization: 'Bearer topsecret' }],
    [
      'custom',
      { in: 'header', fields: { 'X-One': 'secret one', 'X-Two': 'secret two' } },
      { 'x-one': 'secret one', 'x-two': 'secret two' },
    ],
  ])('of type %s as headers', async (type, data, headers) => {
    await send(credential(type, data));
    expect(seen).toMatchObject([{ url: '/a?b=1', headers }]);
  });

  test('in the query, beside what the address has', async () => {
    await send(credential('apiKey', { in: 'query', name: 'key', prefix: '', value: 'top&secret' }), { query: { c: 2 } });
    expect(seen).toMatchObject([{ url: '/a?b=1&c=2&key=top%26secret' }]);
  });

  test('in place of a header of the same name', async () => {
    await send(credential('bearer', { token: 'topsecret' }), { headers: { Authorization: 'Bearer mine' } });
    expect(seen).toMatchObject([{ headers: { authorization: 'Bearer topsecret' } }]);
  });
});

describe('a credential does not leave its hosts', () => {
  test.each([
    ['another host', ['api.example.com']],
    ['another port', ['127.0.0.1:1']],
    ['the host without its port', ['127.0.0.1']],
    ['no host at all', []],
  ])('a request is not sent when it allows %s', async (_case, allowed) => {
    await expect(send(credential('bearer', { token: 'topsecret' }, allowed))).rejects.toMatchObject({
      code: 'CREDENTIAL_HOST',
      message: expect.not.stringContaining('topsecret'),
    });
    expect(seen).toEqual([]);
  });

  test.each([301, 302, 303, 307, 308])(
    'a redirect with %i to another host goes on without it, even to one that it allows',
    async (status) => {
      respond = (request, response) => {
        if (request.headers.host === hosts[0]) response.writeHead(status, { location: `http://${hosts[1]}/b` });
        response.end();
      };
      const data = { in: 'header', fields: { 'X-One': 'topsecret one', Cookie: 'topsecret two' } };
      await send(credential('custom', data, hosts));
      await send(credential('apiKey', { in: 'query', name: 'key', prefix: '', value: 'topsecret' }, hosts));
      expect(seen.map(({ host }) => host)).toEqual([hosts[0], hosts[1], hosts[0], hosts[1]]);
      expect(JSON.stringify([seen[1], seen[3]])).not.toContain('topsecret');
    },
  );

  test('a redirect within the origin goes on with it; one that comes back from another host without', async () => {
    respond = (request, response) => {
      const next = { '/a?b=1': `http://${hosts[0]}/same`, '/same': `http://${hosts[1]}/other`, '/other': `http://${hosts[0]}/back` }[
        request.url!
      ];
      if (next) response.writeHead(307, { location: next });
      response.end();
    };
    await send(credential('bearer', { token: 'topsecret' }));
    expect(seen.map(({ url, headers }) => [url, headers.authorization])).toEqual([
      ['/a?b=1', 'Bearer topsecret'],
      ['/same', 'Bearer topsecret'],
      ['/other', undefined],
      ['/back', undefined],
    ]);
  });
});

test.each([
  ['a type that no request carries', 'smtp', { host: 'mail' }, 'CREDENTIAL_TYPE'],
  ['a custom one that is for other nodes', 'custom', { in: 'none', fields: { a: 'topsecret' } }, 'CREDENTIAL_TYPE'],
  ['OAuth2 without a login', 'oauth2AuthorizationCode', { clientSecret: 'topsecret' }, 'CREDENTIAL_INCOMPLETE'],
])('%s is refused', async (_case, type, data, code) => {
  await expect(send(credential(type, data))).rejects.toMatchObject({ code, message: expect.not.stringContaining('topsecret') });
});

test.each([
  ['api.example.com', 'https://api.example.com/x', true],
  ['api.example.com', 'https://API.example.com', true],
  ['api.example.com', 'http://api.example.com', true],
  ['api.example.com', 'https://api.example.com:8443', false],
  ['api.example.com:8443', 'https://api.example.com:8443', true],
  ['api.example.com:443', 'https://api.example.com', true],
  ['api.example.com:443', 'http://api.example.com', false],
  ['*.example.com', 'https://a.b.example.com', true],
  ['*.example.com', 'https://example.com', false],
  ['*.example.com', 'https://badexample.com', false],
  ['api.example.com', 'https://api.example.com.evil.example', false],
  ['[2001:db8::1]', 'https://[2001:db8::1]/', true],
  ['[2001:db8::1]:8443', 'https://[2001:db8::1]:8443/', true],
])('%s and %s: %s', (allowed, url, expected) => {
  expect(allowsHost([allowed], new URL(url))).toBe(expected);
});

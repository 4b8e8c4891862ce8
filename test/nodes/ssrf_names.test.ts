import { type AddressInfo, createServer } from 'node:net';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { executeNode } from '../../src/nodes/registry.ts';
import { effectContext } from '../helpers/effect.ts';

const { lookup } = vi.hoisted(() => ({ lookup: vi.fn() }));
vi.mock('node:dns/promises', () => ({ lookup, default: { lookup } }));

let connections = 0;
const listener = createServer((socket) => {
  connections += 1;
  socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n');
});
let port = 0;
beforeAll(async () => {
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  port = (listener.address() as AddressInfo).port;
});
afterAll(() => listener.close());
beforeEach(() => {
  connections = 0;
  lookup.mockReset();
});

const request = (host: string, signal?: AbortSignal, httpAllow: string[] = []) =>
  executeNode(
    'httpRequest@1',
    effectContext({
      properties: { url: `http://${host}:${port}/` },
      config: { httpAllow },
      ...(signal ? { signal } : {}),
    }),
  );

const address = (text: string) => ({ address: text, family: text.includes(':') ? 6 : 4 });

test.each([
  ['127.0.0.1'],
  ['10.1.2.3'],
  ['::1'],
  ['::ffff:127.0.0.1'],
  ['64:ff9b::7f00:1'],
  ['8.8.8.8', '127.0.0.1'],
  ['2606:4700::1', '192.168.0.1'],
])('a name that resolves to %s %s is refused', async (...addresses) => {
  lookup.mockResolvedValue(addresses.map(address));
  await expect(request('rebind.example')).rejects.toMatchObject({ code: 'SSRF_BLOCKED', retryable: false });
  expect(connections).toBe(0);
});

test('a name is resolved once: an answer that changes afterwards is never asked for', async () => {
  lookup.mockResolvedValueOnce([address('8.8.8.8')]).mockResolvedValue([address('127.0.0.1')]);
  await expect(request('rebind.example', AbortSignal.timeout(300))).rejects.toThrow();
  expect(lookup).toHaveBeenCalledTimes(1);
  expect(connections).toBe(0);
});

test('the refusal does not tell what a private name resolves to', async () => {
  lookup.mockResolvedValue([address('10.20.30.40')]);
  const failure = await request('intranet.example').catch((error: Error) => error);
  expect(JSON.stringify(failure) + String(failure)).not.toContain('10.20.30.40');
});

test('a name that does not resolve is worth another attempt', async () => {
  lookup.mockRejectedValue(Object.assign(new Error('getaddrinfo ENOTFOUND nowhere.example'), { code: 'ENOTFOUND' }));
  await expect(request('nowhere.example')).rejects.toMatchObject({ code: 'HTTP_CONNECTION', retryable: true });
});

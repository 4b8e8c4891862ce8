import { type AddressInfo, createServer } from 'node:net';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { executeNode } from '../../src/nodes/registry.ts';
import { type NameServer, startNameServer } from '../helpers/dns.ts';
import { effectContext } from '../helpers/effect.ts';

let connections = 0;
const listener = createServer((socket) => {
  connections += 1;
  socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n');
});
let port = 0;
let names: NameServer;
let config: { httpAllow: string[]; dnsServers: string[] };
beforeAll(async () => {
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  port = (listener.address() as AddressInfo).port;
  names = await startNameServer();
  config = { httpAllow: [], dnsServers: [names.address] };
});
afterAll(() => {
  listener.close();
  names.close();
});
beforeEach(() => {
  connections = 0;
  names.names = {};
  names.questions.length = 0;
});

const request = (host: string, signal?: AbortSignal) =>
  executeNode('httpRequest@1', effectContext({ properties: { url: `http://${host}:${port}/` }, config, ...(signal ? { signal } : {}) }));

test.each([
  ['127.0.0.1'],
  ['10.1.2.3'],
  ['169.254.169.254'],
  ['168.63.129.16'],
  ['::1'],
  ['::ffff:127.0.0.1'],
  ['64:ff9b::7f00:1'],
  ['8.8.8.8', '127.0.0.1'],
  ['2606:4700::1', '192.168.0.1'],
])('a name that resolves to %s %s is refused', async (...addresses) => {
  names.names['rebind.example'] = () => addresses;
  await expect(request('rebind.example')).rejects.toMatchObject({ code: 'SSRF_BLOCKED', retryable: false });
  expect(connections).toBe(0);
});

test('a name is resolved once: an answer that changes afterwards is never asked for', async () => {
  let asked = 0;
  names.names['rebind.example'] = () => {
    asked += 1;
    // One question for each kind of address.
    return asked <= 2 ? ['8.8.8.8'] : ['127.0.0.1'];
  };
  await expect(request('rebind.example', AbortSignal.timeout(300))).rejects.toThrow();
  expect(names.questions.sort()).toEqual(['A rebind.example', 'AAAA rebind.example']);
  expect(connections).toBe(0);
});

test('the refusal does not tell what a private name resolves to', async () => {
  names.names['intranet.example'] = () => ['10.20.30.40'];
  const failure = await request('intranet.example').catch((error: Error) => error);
  expect(JSON.stringify(failure) + String(failure)).not.toContain('10.20.30.40');
});

test('a name that does not resolve is worth another attempt', async () => {
  await expect(request('nowhere.example')).rejects.toMatchObject({ code: 'HTTP_CONNECTION', retryable: true });
});

test('names that nobody answers for keep no other name waiting, and end by themselves', async () => {
  names.names['quick.example'] = () => ['10.0.0.1'];
  const silent = Array.from({ length: 40 }, (_, index) => `silent${index}.example`);
  for (const name of silent) names.names[name] = null;
  const hanging = silent.map((name) => request(name).catch((error: { code: string }) => error.code));
  await expect.poll(() => names.questions.length).toBeGreaterThanOrEqual(80);
  let ended = 0;
  for (const each of hanging) void each.then(() => (ended += 1));
  await expect(request('quick.example')).rejects.toMatchObject({ code: 'SSRF_BLOCKED' });
  expect(ended).toBe(0);
  expect(new Set(await Promise.all(hanging))).toEqual(new Set(['HTTP_CONNECTION']));
}, 30_000);

test.each(['metadata', 'metadata.google.internal', 'metadata.goog', 'instance-data', 'router.home.arpa', 'printer.local'])(
  'the name %s is refused without asking for its address',
  async (name) => {
    await expect(request(name)).rejects.toMatchObject({ code: 'SSRF_BLOCKED' });
    expect(names.questions).toEqual([]);
  },
);

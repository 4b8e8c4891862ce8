import { type AddressInfo, createServer } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { executeNode } from '../../src/nodes/registry.ts';
import { isPublicAddress, parseAllowList } from '../../src/nodes/ssrf.ts';
import { effectContext } from '../helpers/effect.ts';

let connections = 0;
const listener = createServer((socket) => {
  connections += 1;
  socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok');
});
let port = 0;
beforeAll(async () => {
  await new Promise<void>((resolve) => listener.listen(0, '::', resolve));
  port = (listener.address() as AddressInfo).port;
});
afterAll(() => listener.close());

const request = (url: string, httpAllow: string[] = []) =>
  executeNode('httpRequest@1', effectContext({ properties: { url }, config: { httpAllow } }));

/** Hosts that reach this machine, its network or a cloud's metadata, in every spelling. */
const PRIVATE_HOSTS = [
  '127.0.0.1',
  '127.0.0.2',
  '127.255.255.255',
  '127.1',
  '127.0.1',
  '0',
  '0.0.0.0',
  '0x7f000001',
  '0x7f.1',
  '0x7F.0.0.1',
  '2130706433',
  '017700000001',
  '0177.0.0.1',
  '0177.0.0.01',
  '00000177.0.0.1',
  '①②⑦.0.0.1',
  '１２７.0.0.1',
  '127。0。0。1',
  '127.0.0.1.',
  '%31%32%37.0.0.1',
  '10.0.0.1',
  '10.255.255.255',
  '172.16.0.1',
  '172.31.255.255',
  '192.168.0.1',
  '100.64.0.1',
  '100.100.100.200',
  '169.254.169.254',
  '0xa9fea9fe',
  '2852039166',
  '169.254.1.1',
  '168.63.129.16',
  '0xa83f8110',
  '2822734096',
  '168.63.33040',
  '192.0.0.1',
  '192.0.2.1',
  '192.88.99.1',
  '198.18.0.1',
  '198.19.255.255',
  '198.51.100.1',
  '203.0.113.1',
  '224.0.0.1',
  '239.255.255.255',
  '240.0.0.1',
  '255.255.255.255',
  'localhost',
  'LOCALHOST',
  'localhost.',
  'foo.localhost',
  'metadata.google.internal',
  'printer.local',
  '[::]',
  '[::1]',
  '[0:0:0:0:0:0:0:1]',
  '[::127.0.0.1]',
  '[::ffff:127.0.0.1]',
  '[::ffff:7f00:1]',
  '[::ffff:8.8.8.8]',
  '[::ffff:0:127.0.0.1]',
  '[64:ff9b::127.0.0.1]',
  '[64:ff9b::7f00:1]',
  '[64:ff9b::a9fe:a9fe]',
  '[64:ff9b:1::1]',
  '[2002:7f00:1::]',
  '[2002:a9fe:a9fe::1]',
  '[2001::1]',
  '[2001:db8::1]',
  '[2001:10::1]',
  '[100::1]',
  '[fc00::1]',
  '[fd00:ec2::254]',
  '[fe80::1]',
  '[fec0::1]',
  '[ff02::1]',
  '[4000::1]',
  '[3fff::1]',
  '[5f00::1]',
];

test.each(PRIVATE_HOSTS)('%s is refused before any socket is opened', async (host) => {
  const before = connections;
  await expect(request(`http://${host}:${port}/`)).rejects.toMatchObject({ code: 'SSRF_BLOCKED', retryable: false });
  await expect(request(`https://${host}/`)).rejects.toMatchObject({ code: 'SSRF_BLOCKED' });
  expect(connections).toBe(before);
});

test.each([
  'file:///etc/passwd',
  'ftp://example.com/',
  'gopher://example.com/',
  'data:text/plain,hi',
  'unix:/tmp/socket',
  'javascript:1',
  'http://user:secret@example.com/',
  'http://user@example.com/',
  'http://example.com:22/',
  'http://example.com:25/',
  'https://example.com:1/',
])('%s is refused', async (url) => {
  await expect(request(url)).rejects.toMatchObject({ code: 'SSRF_BLOCKED' });
});

test.each(['', 'nonsense', 'http://', 'http://exa mple.com/', 'http://256.256.256.256/', 'http://[::1%25eth0]/', 'http://a:99999/'])(
  '%j is no URL',
  async (url) => {
    await expect(request(url)).rejects.toMatchObject({ code: 'INVALID_URL' });
  },
);

test('an allowed host and port is reached, and only exactly that one', async () => {
  const answer = await request(`http://127.0.0.1:${port}/`, [`127.0.0.1:${port}`]);
  expect(answer.output).toMatchObject({ status: 200 });
  await expect(request(`http://127.0.0.2:${port}/`, [`127.0.0.1:${port}`])).rejects.toMatchObject({ code: 'SSRF_BLOCKED' });
  await expect(request(`http://127.0.0.1:${port + 1}/`, [`127.0.0.1:${port}`])).rejects.toMatchObject({ code: 'SSRF_BLOCKED' });
  await expect(request(`http://localhost:${port}/`, [`127.0.0.1:${port}`])).rejects.toMatchObject({ code: 'SSRF_BLOCKED' });
  await expect(request(`http://[::1]:${port}/`, [`[::1]:${port}`])).resolves.toMatchObject({ output: { status: 200 } });
});

test('an entry of the allow list is a host and a port', () => {
  expect([...parseAllowList(['CRM.internal:443', ' 127.0.0.1:8080 ', '[::1]:80'])]).toEqual([
    'crm.internal:443',
    '127.0.0.1:8080',
    '::1:80',
  ]);
  expect(() => parseAllowList(['127.0.0.1'])).toThrow('FLOWGRES_HTTP_ALLOW');
});

test.each(['8.8.8.8', '1.1.1.1', '2606:4700:4700::1111', '2a00:1450:4001:81b::200e', '172.32.0.1', '100.128.0.1'])(
  '%s is a public address',
  (address) => expect(isPublicAddress(address)).toBe(true),
);

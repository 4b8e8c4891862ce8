/**
 * A server that workflows call, in a separate process: it answers, hangs, or answers what the database cannot
 * store.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const ANSWERS: Record<string, string> = {
  '/ok': '{"ok": true}',
  '/exponent': '{"a": 1e9999999}',
  '/digits': `[${Array.from({ length: 60 }, () => '1e130000').join(',')}]`,
  '/deep': '['.repeat(50_000) + ']'.repeat(50_000),
};

const server = createServer((request, response) => {
  request.resume();
  const answer = ANSWERS[request.url ?? ''];
  if (answer !== undefined) response.writeHead(200, { 'content-type': 'application/json' }).end(answer);
});
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.once('SIGTERM', () => process.exit(0));

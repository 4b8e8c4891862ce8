/** Where a request comes from, as far as that can be believed. */
import type { IncomingMessage } from 'node:http';
import ipaddr from 'ipaddr.js';

/**
 * The address of the client. Each of our own proxies appends the one that it saw to X-Forwarded-For; what stands before
 * those, anybody may have written. Of an IPv6 address the network counts: its owner has 2^64 of them.
 */
export function addressOf(request: IncomingMessage, trustedProxies: number): string {
  const seen = [request.headers['x-forwarded-for'] ?? []]
    .flat()
    .join(',')
    .split(',')
    .map((each) => each.trim())
    .filter(Boolean);
  const address = (trustedProxies > 0 ? seen.at(-trustedProxies) : undefined) ?? request.socket.remoteAddress ?? '';
  if (!ipaddr.isValid(address)) return 'unknown';
  const parsed = ipaddr.process(address);
  return parsed.kind() === 'ipv6' ? `${parsed.toNormalizedString().split(':').slice(0, 4).join(':')}::/64` : parsed.toString();
}

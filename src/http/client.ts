/** Where a request comes from. */
import type { IncomingMessage } from 'node:http';
import ipaddr from 'ipaddr.js';

/**
 * The client's address. Behind proxies it is what the outermost of them saw: the entry of X-Forwarded-For as many places
 * from its end as there are proxies. What stands further left anybody can have written.
 */
export function clientIp(request: IncomingMessage, proxies: number): string {
  const forwarded = String(request.headers['x-forwarded-for'] ?? '')
    .split(',')
    .map((each) => each.trim())
    .filter(Boolean);
  const address = proxies > 0 ? forwarded.at(-proxies) : undefined;
  return normalize(address) ?? normalize(request.socket.remoteAddress) ?? '';
}

/** Whose limits a request without a token counts for: of an IPv6 address the network, for its owner has 2^64 of them. */
export function callerOf(request: IncomingMessage, proxies: number): string {
  const address = clientIp(request, proxies);
  return address.includes(':') ? `${address.split(':').slice(0, 4).join(':')}::/64` : address;
}

/** The network of a request, as the database counts networks: 24 bits of an IPv4 address, 48 of an IPv6 one. */
export function networkOf(request: IncomingMessage, proxies: number): string {
  return networkOfAddress(clientIp(request, proxies));
}

/** The same of an address. */
export function networkOfAddress(address: string): string {
  return address.includes(':') ? `${address.split(':').slice(0, 3).join(':')}::/48` : address.replace(/\.\d+$/, '.0/24');
}

/** `::ffff:192.0.2.1` is 192.0.2.1. */
function normalize(address: string | undefined): string | undefined {
  if (!address || !ipaddr.isValid(address)) return undefined;
  const parsed = ipaddr.process(address);
  return parsed.kind() === 'ipv6' ? parsed.toNormalizedString().replace(/%.*$/, '') : parsed.toString();
}

/** The settings that tell the database of the client. */
export function clientSettings(request: IncomingMessage | undefined, proxies: number): Record<string, string> {
  return {
    'flowgres.client_ip': request ? clientIp(request, proxies) : '',
    'flowgres.user_agent': (request?.headers['user-agent'] ?? '').slice(0, 200),
  };
}

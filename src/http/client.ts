/** Finds the client's address and network of a request. */
import type { IncomingMessage } from 'node:http';
import ipaddr from 'ipaddr.js';

/**
 * Returns the client's address. Behind proxies it is the entry of X-Forwarded-For as many places from the end
 * as there are proxies: the address that the outermost proxy has seen. Clients can forge the entries before it.
 */
export function clientIp(request: IncomingMessage, proxies: number): string {
  const forwarded = String(request.headers['x-forwarded-for'] ?? '')
    .split(',')
    .map((each) => each.trim())
    .filter(Boolean);
  const address = proxies > 0 ? forwarded.at(-proxies) : undefined;
  return normalize(address) ?? normalize(request.socket.remoteAddress) ?? '';
}

/**
 * Returns the address whose limits a request without a token counts against; for IPv6 the network, since one
 * owner has 2^64 addresses.
 */
export function callerOf(request: IncomingMessage, proxies: number): string {
  const address = clientIp(request, proxies);
  return address.includes(':') ? `${address.split(':').slice(0, 4).join(':')}::/64` : address;
}

/** Returns the network of a request as the database groups addresses: 24 bits of IPv4, 48 bits of IPv6. */
export function networkOf(request: IncomingMessage, proxies: number): string {
  return networkOfAddress(clientIp(request, proxies));
}

/** Returns the network of an address. */
export function networkOfAddress(address: string): string {
  return address.includes(':') ? `${address.split(':').slice(0, 3).join(':')}::/48` : address.replace(/\.\d+$/, '.0/24');
}

/** Converts an IPv4-mapped address such as `::ffff:192.0.2.1` to 192.0.2.1. */
function normalize(address: string | undefined): string | undefined {
  if (!address || !ipaddr.isValid(address)) return undefined;
  const parsed = ipaddr.process(address);
  return parsed.kind() === 'ipv6' ? parsed.toNormalizedString().replace(/%.*$/, '') : parsed.toString();
}

/** Returns the settings that give the database the client's address and user agent. */
export function clientSettings(request: IncomingMessage | undefined, proxies: number): Record<string, string> {
  return {
    'flowgres.client_ip': request ? clientIp(request, proxies) : '',
    'flowgres.user_agent': (request?.headers['user-agent'] ?? '').slice(0, 200),
  };
}

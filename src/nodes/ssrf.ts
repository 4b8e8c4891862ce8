/**
 * Keeps requests of tenants away from private networks. A name is resolved once, all its addresses must be
 * public, and the connection uses the checked addresses, so that neither a private name nor one that changes
 * its addresses passes. The check is in the connector, so it also covers redirects.
 */
import type { LookupAddress } from 'node:dns';
import { Resolver } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';
import { Agent, buildConnector } from 'undici';
import { LIMITS } from '../constants.ts';
import { FlowgresError } from '../errors.ts';
import { NodeError } from './types.ts';

const CONNECT_TIMEOUT_MS = 10_000;
/** A name server gets that long for an answer, in milliseconds, and so many chances. */
const DNS_TIMEOUT_MS = LIMITS.httpRequest.dnsTimeoutMs;
const DNS_TRIES = LIMITS.httpRequest.dnsTries;
/** Names that never mean a public host, wherever they resolve to. */
const PRIVATE_NAMES =
  /(?:^|\.)(?:localhost|local|internal|localdomain|home\.arpa)\.?$|^(?:metadata|instance-data|metadata\.goog|metadata\.tencentyun\.com)\.?$/;
/** Public addresses that serve cloud metadata: Azure's wire server. */
const METADATA_ADDRESSES = new Set(['168.63.129.16']);
/** IPv6 addresses assigned to the public internet. */
const GLOBAL_UNICAST = ipaddr.parseCIDR('2000::/3');

/**
 * Parses entries such as `127.0.0.1:8080` or `[::1]:8080` into the set that the other functions take. Throws
 * for a malformed entry.
 */
export function parseAllowList(entries: readonly string[]): ReadonlySet<string> {
  return new Set(
    entries.map((entry) => {
      const [, host, port] = /^(\S+):(\d+)$/.exec(entry.trim().toLowerCase()) ?? [];
      if (!host || !port) {
        throw new FlowgresError('INVALID_CONFIGURATION', `FLOWGRES_HTTP_ALLOW has the entry "${entry}".`, {
          hint: 'Entries are host:port, separated by commas: 127.0.0.1:8080,crm.internal:443',
        });
      }
      return `${withoutBrackets(host)}:${port}`;
    }),
  );
}

/**
 * Returns the parsed URL. Throws unless it is HTTP or HTTPS to an allowed port; addresses are checked when
 * connecting.
 */
export function checkUrl(text: string, allow: ReadonlySet<string>): URL {
  const url = URL.parse(text);
  if (!url) throw new NodeError('INVALID_URL', 'The URL is not valid.', { details: { url: text.slice(0, 200) } });
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw blocked(`The protocol ${url.protocol} is not allowed, only http and https.`);
  }
  if (url.username || url.password) throw blocked('A URL with a user name or password is not allowed; use a header.');
  if (!allow.has(target(url.hostname, url.port, url.protocol))) checkHost(url.hostname, portOf(url.port, url.protocol));
  return url;
}

/**
 * Returns an agent that connects to public addresses only.
 *
 * @param allow exact `host:port` pairs that may be private
 * @param dnsServers name servers to use instead of the machine's own
 */
export function createGuardedAgent(allow: ReadonlySet<string>, dnsServers: readonly string[] = []): Agent {
  const guarded = buildConnector({ timeout: CONNECT_TIMEOUT_MS, lookup: createLookup(dnsServers) });
  const unguarded = buildConnector({ timeout: CONNECT_TIMEOUT_MS });
  return new Agent({
    // The attempt's signal limits the time; these limits would hide the reason.
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: (options, callback) => {
      if (allow.has(target(options.hostname, options.port, options.protocol))) {
        unguarded(options, callback);
        return;
      }
      try {
        checkHost(options.hostname, portOf(options.port, options.protocol));
      } catch (error) {
        callback(error as Error, null);
        return;
      }
      guarded(options, callback);
    },
  });
}

/** Whether an address belongs to the public internet: not private, local, reserved, translated or tunnelled. */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.parse(address);
  if (parsed.range() !== 'unicast' || METADATA_ADDRESSES.has(parsed.toString())) return false;
  return parsed.kind() === 'ipv4' || parsed.match(GLOBAL_UNICAST);
}

function checkHost(hostname: string, port: number): void {
  // Node calls `lookup` for names only, not for addresses.
  const address = withoutBrackets(hostname);
  const isPrivate = isIP(address) ? !isPublicAddress(address) : PRIVATE_NAMES.test(hostname);
  if (isPrivate) throw notPublic(hostname);
  if (port !== 80 && port !== 443 && port < 1024) throw blocked(`Port ${port} is not allowed.`);
}

/**
 * Returns a lookup that asks name servers directly: Node's own lookup occupies one of four threads until the
 * answer arrives, so a dozen names of a silent server would block all others. Does not read the hosts file.
 */
function createLookup(servers: readonly string[]): LookupFunction {
  const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: DNS_TRIES });
  if (servers.length) resolver.setServers(servers);
  return (hostname, options, callback) => {
    resolvePublic(resolver, hostname, options.family).then(
      (addresses) => {
        if (options.all) callback(null, addresses);
        else callback(null, addresses[0]?.address ?? '', addresses[0]?.family);
      },
      (error: NodeJS.ErrnoException) => callback(error, options.all ? [] : ''),
    );
  };
}

async function resolvePublic(resolver: Resolver, hostname: string, family: number | string | undefined): Promise<LookupAddress[]> {
  const wants = (version: 4 | 6) => !family || family === version || family === `IPv${version}`;
  const answers = await Promise.allSettled([wants(4) ? resolver.resolve4(hostname) : [], wants(6) ? resolver.resolve6(hostname) : []]);
  const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
  if (!addresses.every(isPublicAddress)) throw notPublic(hostname);
  const [failed] = answers.filter((answer) => answer.status === 'rejected');
  if (addresses.length === 0) throw failed?.reason ?? new Error(`${hostname} has no address.`);
  return addresses.map((address) => ({ address, family: isIP(address) }));
}

function portOf(port: string, protocol: string): number {
  return Number(port) || (protocol === 'https:' ? 443 : 80);
}

function target(hostname: string, port: string, protocol: string): string {
  return `${withoutBrackets(hostname)}:${portOf(port, protocol)}`;
}

function withoutBrackets(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, '');
}

function notPublic(hostname: string): NodeError {
  return blocked(`${hostname} is not a public address.`);
}

function blocked(message: string): NodeError {
  return new NodeError('SSRF_BLOCKED', message, {
    details: { hint: 'Private targets are reached only when FLOWGRES_HTTP_ALLOW lists their host:port.' },
  });
}

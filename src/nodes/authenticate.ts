/**
 * Adds a credential to an HTTP request: as headers or in the query, by its type. A credential is sent only to the hosts
 * that it allows, and along a redirect only within the origin that it was first sent to. A request with secret variables
 * goes only to hosts that all of them allow.
 */
import type { OpenCredential, OpenVariable } from '../vault/credentials.ts';
import { CREDENTIAL_TYPES, type CredentialData } from '../vault/types.ts';
import { NodeError } from './types.ts';

/** What a credential adds to a request. */
export interface Authentication {
  /** By name in lower case. */
  headers: Record<string, string>;
  query: [name: string, value: string][];
}

const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const NOTHING: Authentication = { headers: {}, query: [] };

/**
 * Returns what the credential adds to a request to `url`; nothing without a credential.
 *
 * @throws NodeError CREDENTIAL_HOST, CREDENTIAL_TYPE, CREDENTIAL_INCOMPLETE (OAuth2 without a token)
 */
export function authenticationFor(credential: OpenCredential | undefined, url: URL): Authentication {
  if (!credential) return NOTHING;
  if (!allowsHost(credential.allowedHosts, url)) {
    throw new NodeError('CREDENTIAL_HOST', `The credential ${credential.name} may not be sent to ${url.host}.`, {
      details: { hint: 'Its allowedHosts do not have the host: change them by updateCredential, or the address of the node.' },
    });
  }
  const authentication = authenticationOf(credential);
  if (!Object.values(authentication.headers).every((value) => HEADER_VALUE.test(value))) {
    throw new NodeError('INVALID_REQUEST', `The credential ${credential.name} has characters that headers cannot carry.`);
  }
  return authentication;
}

/**
 * Refuses to send secret variables to a host that one of them does not allow.
 *
 * @throws NodeError CREDENTIAL_HOST
 */
export function checkVariableHosts(variables: readonly OpenVariable[], url: URL): void {
  const refused = variables.find(({ allowedHosts }) => !allowsHost(allowedHosts, url));
  if (!refused) return;
  throw new NodeError('CREDENTIAL_HOST', `The secret variable ${refused.name} may not be sent to ${url.host}.`, {
    details: { hint: 'Its allowedHosts do not have the host: set it again by setVariable, or change the address of the node.' },
  });
}

/** Whether a host is among the allowed ones: `name`, `*.name` (all below it), either with `:port`. */
export function allowsHost(allowed: readonly string[], url: URL): boolean {
  const hostname = url.hostname.toLowerCase();
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return allowed.some((entry) => {
    const [, host = '', entryPort] = /^(\[[^\]]+\]|[^:]+)(?::(\d+))?$/.exec(entry) ?? [];
    // Without a port an entry stands for the usual ones.
    if (entryPort === undefined ? url.port !== '' : entryPort !== port) return false;
    return host.startsWith('*.') ? hostname.endsWith(host.slice(1)) && hostname.length > host.length - 1 : hostname === host;
  });
}

function authenticationOf(credential: OpenCredential): Authentication {
  const { type, data } = credential;
  const header = (name: string, value: string): Authentication => ({ headers: { [name.toLowerCase()]: value }, query: [] });
  switch (type) {
    case 'basic': {
      const { username, password } = data as CredentialData<'basic'>;
      return header('authorization', `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`);
    }
    case 'bearer':
      return header('authorization', `Bearer ${(data as CredentialData<'bearer'>).token}`);
    case 'openaiCompatible': {
      const { apiKey, organization } = data as CredentialData<'openaiCompatible'>;
      const headers = { authorization: `Bearer ${apiKey}`, ...(organization ? { 'openai-organization': organization } : {}) };
      return { headers, query: [] };
    }
    case 'apiKey': {
      const { in: place, name, prefix, value } = CREDENTIAL_TYPES.apiKey.parse(data);
      return place === 'query' ? { headers: {}, query: [[name, prefix + value]] } : header(name, prefix + value);
    }
    case 'custom': {
      const { in: place, fields } = CREDENTIAL_TYPES.custom.parse(data);
      if (place === 'query') return { headers: {}, query: Object.entries(fields) };
      if (place === 'none') throw wrongType(credential);
      return { headers: Object.fromEntries(Object.entries(fields).map(([name, value]) => [name.toLowerCase(), value])), query: [] };
    }
    case 'oauth2ClientCredentials':
    case 'oauth2AuthorizationCode': {
      const { accessToken } = data as CredentialData<'oauth2AuthorizationCode'>;
      if (accessToken) return header('authorization', `Bearer ${accessToken}`);
      throw new NodeError('CREDENTIAL_INCOMPLETE', `Nobody has logged in with the credential ${credential.name} yet.`, {
        details: { hint: 'Enter the refresh token that the provider gave you with updateCredential.' },
      });
    }
    default:
      throw wrongType(credential);
  }
}

function wrongType({ name, type }: OpenCredential): NodeError {
  return new NodeError('CREDENTIAL_TYPE', `The credential ${name} of type ${type} is none that a request can carry.`);
}

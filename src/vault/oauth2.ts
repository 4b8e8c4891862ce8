/** OAuth2: asks a provider for tokens, with the client's secret, a refresh token, or the code of somebody's login. */
import {
  ClientSecretBasic,
  ClientSecretPost,
  Configuration,
  ResponseBodyError,
  allowInsecureRequests,
  authorizationCodeGrant,
  buildAuthorizationUrl,
  calculatePKCECodeChallenge,
  clientCredentialsGrant,
  customFetch,
  refreshTokenGrant,
} from 'openid-client';
import { z } from 'zod';
import { FlowgresError, reasonOf } from '../errors.ts';
import type { OpenCredential } from './credentials.ts';
import type { CredentialData } from './types.ts';

/** A fetch that may reach the provider: the caller guards private networks, and limits size and time. */
export type TokenFetch = (
  url: string,
  options: { method: string; headers: Record<string, string>; body: string | null },
) => Promise<Response>;

/** Time before the end of a token at which it counts as used up, in milliseconds. */
const EARLY_MS = 60_000;

/** Tokens as they are sealed in the data of a credential. */
export interface Tokens {
  accessToken: string;
  refreshToken?: string;
  /** ISO 8601; absent when the provider does not say it. */
  tokenExpiresAt?: string;
}

/** Whether the credential is one whose tokens are renewed. */
export function hasTokens({ type }: { type: string }): boolean {
  return type === 'oauth2ClientCredentials' || type === 'oauth2AuthorizationCode';
}

/** Whether the access token can be sent: there is one, and it does not end within `earlyMs` milliseconds, a minute. */
export function isFresh({ data }: { data: Record<string, unknown> }, earlyMs = EARLY_MS, now = Date.now()): boolean {
  const { accessToken, tokenExpiresAt } = data as Partial<Tokens>;
  if (!accessToken) return false;
  return tokenExpiresAt === undefined || Date.parse(tokenExpiresAt) - earlyMs > now;
}

/**
 * Asks the provider for new tokens.
 *
 * @throws FlowgresError CREDENTIAL_INCOMPLETE (nobody has logged in), OAUTH2_REFUSED (the provider says no),
 * OAUTH2_UNAVAILABLE (no answer that can be read: another attempt may help)
 */
export async function requestTokens(credential: OpenCredential, fetch: TokenFetch): Promise<Tokens> {
  const configuration = configurationOf(credential, fetch);
  try {
    if (credential.type === 'oauth2ClientCredentials') {
      const { scope, audience } = credential.data as CredentialData<'oauth2ClientCredentials'>;
      return tokensOf(await clientCredentialsGrant(configuration, { ...(scope ? { scope } : {}), ...(audience ? { audience } : {}) }));
    }
    const { refreshToken } = credential.data as CredentialData<'oauth2AuthorizationCode'>;
    if (!refreshToken) throw incomplete(credential);
    return tokensOf(await refreshTokenGrant(configuration, refreshToken), refreshToken);
  } catch (error) {
    throw refusalIn(error) ?? describeRefusal(credential, error);
  }
}

/** A login that was begun: what the provider sends back has to fit it. */
export interface Login {
  /** Where the provider sends the browser back to. */
  redirectUri: string;
  state: string;
  /** The verifier of PKCE. */
  verifier: string;
}

/** Returns the address at which somebody logs in with a credential of type oauth2AuthorizationCode. */
export async function authorizationUrl(credential: OpenCredential, { redirectUri, state, verifier }: Login): Promise<string> {
  const { scope } = credential.data as CredentialData<'oauth2AuthorizationCode'>;
  return buildAuthorizationUrl(configurationOf(credential, refuseFetch), {
    redirect_uri: redirectUri,
    ...(scope ? { scope } : {}),
    state,
    code_challenge: await calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  }).href;
}

/** Asks the provider for the tokens of a login. Errors as of {@link requestTokens}. */
export async function requestLoginTokens(credential: OpenCredential, login: Login, code: string, fetch: TokenFetch): Promise<Tokens> {
  const { redirectUri, state: expectedState, verifier: pkceCodeVerifier } = login;
  const url = new URL(redirectUri);
  // Without `iss`: the state leads to one credential, and the code goes to its provider only.
  url.search = new URLSearchParams({ code, state: expectedState }).toString();
  try {
    return tokensOf(await authorizationCodeGrant(configurationOf(credential, fetch), url, { expectedState, pkceCodeVerifier }));
  } catch (error) {
    throw refusalIn(error) ?? describeRefusal(credential, error);
  }
}

const refuseFetch: TokenFetch = () => Promise.reject(new Error('An address is made without a request.'));

function configurationOf({ data }: OpenCredential, fetch: TokenFetch): Configuration {
  const {
    authorizationUrl: authorizationEndpoint,
    tokenUrl,
    clientId,
    clientSecret,
    authentication,
  } = data as Omit<CredentialData<'oauth2ClientCredentials'>, 'audience'> & { authorizationUrl?: string };
  const login = authentication === 'post' ? ClientSecretPost(clientSecret) : ClientSecretBasic(clientSecret);
  const { origin, protocol } = new URL(tokenUrl);
  const configuration = new Configuration(
    { issuer: origin, token_endpoint: tokenUrl, ...(authorizationEndpoint ? { authorization_endpoint: authorizationEndpoint } : {}) },
    clientId,
    {},
    login,
  );
  // The person who entered the address has chosen http; the guard of private networks applies either way.
  if (protocol === 'http:') allowInsecureRequests(configuration);
  configuration[customFetch] = async (url, { method, headers, body }) =>
    withoutIdToken(await fetch(url, { method, headers, body: body == null ? null : String(body) }));
  return configuration;
}

/** Nobody reads the identity of who has logged in, so there is nothing to verify it against. */
async function withoutIdToken(response: Response): Promise<Response> {
  if (!response.headers.get('content-type')?.startsWith('application/json')) return response;
  const { id_token: _unused, ...body } = z.record(z.string(), z.unknown()).parse(await response.json());
  return new Response(JSON.stringify(body), { status: response.status, headers: { 'content-type': 'application/json' } });
}

interface TokenAnswer {
  access_token: string;
  refresh_token?: string | undefined;
  expires_in?: number | undefined;
}

/** A provider that does not rotate refresh tokens leaves out the new one. */
function tokensOf(answer: TokenAnswer, refreshToken?: string): Tokens {
  const kept = answer.refresh_token ?? refreshToken;
  return {
    accessToken: answer.access_token,
    ...(kept === undefined ? {} : { refreshToken: kept }),
    ...(answer.expires_in === undefined ? {} : { tokenExpiresAt: new Date(Date.now() + answer.expires_in * 1_000).toISOString() }),
  };
}

/** Returns the error of the guard, which openid-client wraps. */
function refusalIn(error: unknown): FlowgresError | undefined {
  if (error instanceof FlowgresError) return error;
  return error instanceof Error && error.cause !== undefined ? refusalIn(error.cause) : undefined;
}

function incomplete({ name }: OpenCredential): FlowgresError {
  return new FlowgresError('CREDENTIAL_INCOMPLETE', `Nobody has logged in with the credential ${name} yet.`, {
    hint: 'authorizeCredential gives the address at which somebody does.',
  });
}

function describeRefusal({ name }: OpenCredential, error: unknown): FlowgresError {
  if (error instanceof ResponseBodyError && error.status < 500) {
    return new FlowgresError('OAUTH2_REFUSED', `The provider refuses tokens for the credential ${name}: ${error.error}.`, {
      hint: 'Log in again, or enter the secret of the client again.',
      details: { error: error.error, status: error.status },
    });
  }
  return new FlowgresError('OAUTH2_UNAVAILABLE', `The provider of the credential ${name} gives no tokens: ${reasonOf(error)}`, {
    cause: error,
  });
}

/**
 * The types of credentials: the zod shape of what is sealed. `public.credential_types()` shows the same shapes as JSON
 * schemas, from which a form can be drawn; a test compares them.
 */
import { z } from 'zod';

/** Shortest secret, in characters: a shorter one could not be told from ordinary text where it is redacted. */
export const MIN_SECRET_LENGTH = 4;

/** One line, without control characters: it may become a header. */
const isLine = (text: string) => !/\p{Cc}/u.test(text) && text.isWellFormed();
const isHeaderName = (text: string) => /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/.test(text);
const isHttpUrl = (text: string) => /^https?:\/\/[^\s/?#@]+(?:[/?][^\s#]*)?$/.test(text) && URL.canParse(text);

const line = (longest: number) => z.string().min(1).max(longest).refine(isLine);
const block = (longest: number) => z.string().min(MIN_SECRET_LENGTH).max(longest).meta({ writeOnly: true });
const secret = (longest: number) => z.string().min(MIN_SECRET_LENGTH).max(longest).refine(isLine).meta({ writeOnly: true });
const httpUrl = () => z.string().max(2_000).refine(isHttpUrl).meta({ format: 'uri' });
const port = () => z.int().min(1).max(65_535);
const headerName = () => z.string().refine(isHeaderName);

/** Tokens that OAuth2 servers have given; Flowgres writes them, not people. */
const tokens = {
  accessToken: secret(16_000).optional(),
  refreshToken: secret(16_000).optional(),
  tokenExpiresAt: z.string().max(40).optional(),
};
const client = {
  clientId: line(500),
  clientSecret: secret(2_000),
  scope: line(2_000).optional(),
  authentication: z.enum(['basic', 'post']).default('basic'),
};

/** The shapes by type. */
export const CREDENTIAL_TYPES = {
  basic: z.strictObject({ username: line(500), password: secret(2_000) }),
  bearer: z.strictObject({ token: secret(16_000) }),
  apiKey: z.strictObject({
    in: z.enum(['header', 'query']).default('header'),
    name: headerName(),
    prefix: z.string().max(50).refine(isLine).default(''),
    value: secret(16_000),
  }),
  oauth2ClientCredentials: z.strictObject({
    tokenUrl: httpUrl(),
    ...client,
    audience: line(2_000).optional(),
    accessToken: tokens.accessToken,
    tokenExpiresAt: tokens.tokenExpiresAt,
  }),
  oauth2AuthorizationCode: z.strictObject({
    authorizationUrl: httpUrl(),
    tokenUrl: httpUrl(),
    ...client,
    ...tokens,
  }),
  smtp: z.strictObject({
    host: line(255),
    port: port().default(587),
    security: z.enum(['tls', 'starttls', 'none']).default('starttls'),
    username: line(500).optional(),
    password: secret(2_000).optional(),
  }),
  postgres: z.strictObject({
    host: line(255),
    port: port().default(5_432),
    database: line(63),
    user: line(63),
    password: secret(2_000),
    ssl: z.enum(['verify', 'require', 'off']).default('verify'),
  }),
  hmac: z.strictObject({ secrets: z.array(secret(2_000)).min(1).max(3) }),
  jwt: z.strictObject({
    secret: secret(2_000).optional(),
    publicKey: block(16_000).optional(),
    jwksUrl: httpUrl().optional(),
    issuer: line(500).optional(),
    audience: line(500).optional(),
  }),
  openaiCompatible: z.strictObject({ baseUrl: httpUrl(), apiKey: secret(2_000), organization: line(200).optional() }),
  custom: z.strictObject({
    in: z.enum(['header', 'query', 'none']).default('header'),
    fields: z.record(headerName(), secret(16_000)),
  }),
} as const satisfies Record<string, z.ZodType>;

/** Name of a type. */
export type CredentialType = keyof typeof CREDENTIAL_TYPES;

/** What is sealed in a credential of a type. */
export type CredentialData<T extends CredentialType> = z.output<(typeof CREDENTIAL_TYPES)[T]>;

/** Whether there is a type of this name. */
export function isCredentialType(type: string): type is CredentialType {
  return Object.hasOwn(CREDENTIAL_TYPES, type);
}

/**
 * Reads and checks the settings: environment variables, some of which the command line overrides. Called once,
 * at the start.
 */
import { scryptSync } from 'node:crypto';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { z } from 'zod';
import { tryParseJson } from './json/json.ts';
import { LIMITS } from './constants.ts';
import { FlowgresError } from './errors.ts';
import { isSchemaName } from './database/api_schema.ts';
import { type LoginRole, type RolePasswords, derivePasswords, roleUrl } from './database/roles.ts';
import type { JwtConfig } from './http/jwt.ts';
import type { MetricsAccess } from './http/server.ts';
import type { SubscriptionSettings } from './limits/subscription_limits.ts';

const postgresUrl = z
  .string()
  .refine(
    (text) => ['postgres:', 'postgresql:'].includes(URL.parse(text)?.protocol ?? ''),
    'must look like postgres://user:password@host:5432/database',
  )
  .refine((text) => (URL.parse(text)?.pathname.length ?? 0) > 1, 'must name a database, such as …:5432/flowgres');

const urlOf = (...protocols: string[]) =>
  z.string().refine((text) => protocols.includes(URL.parse(text)?.protocol ?? ''), `must begin with ${protocols.join('// or ')}//`);

const list = z.string().transform((text) =>
  text
    .split(',')
    .map((each) => each.trim())
    .filter(Boolean),
);
const secret = z.string().min(16, 'must have at least 16 characters');
const perSecond = z.coerce.number('must be a number').min(0, 'must be 0 or more').max(1_000_000);
const atLeastOne = z.coerce.number('must be a number').int().min(1, 'must be 1 or more').max(1_000_000);

const tokens = z.coerce.number('must be a number').int().min(100, 'must be 100 or more').max(100_000, 'must be at most 100000');
const cpuPerSecond = z.coerce.number('must be a number').min(0, 'must be 0 or more').max(10_000, 'must be at most 10000');

const settings = z.object({
  PORT: z.coerce.number('must be a number').int().min(0, 'must be 0 or more').max(65_535, 'must be at most 65535').default(8080),
  HOST: z.string().min(1).default('127.0.0.1'),
  FLOWGRES_DATA: z.string().min(1).default('.flowgres'),
  DATABASE_URL: postgresUrl.optional(),
  // Read by src/database/api_schema.ts, since SQL texts are made of it as modules load.
  FLOWGRES_SCHEMA: z
    .string()
    .refine(isSchemaName, 'must be a name in lower case, and none of a schema of Flowgres or PostgreSQL')
    .optional(),
  FLOWGRES_POOLER_URL: postgresUrl.optional(),
  FLOWGRES_SECRET: secret.optional(),
  FLOWGRES_API_PASSWORD: secret.optional(),
  FLOWGRES_INTAKE_PASSWORD: secret.optional(),
  FLOWGRES_WORKER_PASSWORD: secret.optional(),
  FLOWGRES_MAINTENANCE_PASSWORD: secret.optional(),
  FLOWGRES_MONITOR_PASSWORD: secret.optional(),
  FLOWGRES_QUEUE_PASSWORD: secret.optional(),
  FLOWGRES_HTTP_ALLOW: list.default([]),
  FLOWGRES_DNS_SERVERS: list
    .refine(
      (servers) => servers.every((each) => isIP(each.replace(/^\[(.*)\](?::\d+)?$|^([\d.]+):\d+$/, '$1$2'))),
      'must be addresses of name servers, such as 10.0.0.2 or 10.0.0.2:5353',
    )
    .default([]),
  FLOWGRES_METRICS_TOKEN: secret.optional(),
  FLOWGRES_LOG_FORMAT: z.enum(['json', 'text'], 'must be json or text').optional(),
  FLOWGRES_RURU: z.enum(['true', 'false'], 'must be true or false').optional(),
  FLOWGRES_CONSOLE: z.enum(['true', 'false'], 'must be true or false').default('true'),
  NODE_ENV: z.string().optional(),
  FLOWGRES_MAX_COST: z.coerce.number('must be a number').int().min(1, 'must be 1 or more').default(LIMITS.graphql.maxCost),
  FLOWGRES_RATE_LIMIT: perSecond.default(LIMITS.rates.perToken),
  FLOWGRES_ANONYMOUS_RATE_LIMIT: perSecond.default(LIMITS.rates.perAddress),
  FLOWGRES_SUBSCRIPTIONS_PER_TOKEN: atLeastOne.default(LIMITS.subscriptions.perToken),
  FLOWGRES_SUBSCRIPTIONS_PER_ORGANIZATION: atLeastOne.default(LIMITS.subscriptions.perOrganization),
  FLOWGRES_SUBSCRIPTION_RATE: atLeastOne.default(LIMITS.subscriptions.readsPerSecond),
  FLOWGRES_MAX_TOKENS: tokens.default(LIMITS.graphql.maxTokens),
  FLOWGRES_ANONYMOUS_MAX_TOKENS: tokens.default(LIMITS.graphql.maxAnonymousTokens),
  FLOWGRES_CPU_LIMIT: cpuPerSecond.default(LIMITS.rates.cpuPerToken),
  FLOWGRES_ANONYMOUS_CPU_LIMIT: cpuPerSecond.default(LIMITS.rates.cpuPerNetwork),
  FLOWGRES_PUBLIC_URL: urlOf('https:', 'http:').optional(),
  FLOWGRES_CORS_ORIGINS: list.default([]),
  FLOWGRES_OPERATIONS: z.string().optional(),
  FLOWGRES_ONLY_OPERATIONS: z.enum(['true', 'false'], 'must be true or false').default('false'),
  FLOWGRES_CRON_USERS: z
    .string()
    .transform(tryParseJson)
    .pipe(
      z.record(z.string(), postgresUrl, 'must be an object of connection strings, such as {"reports": "postgres://reports:…@db/flowgres"}'),
    )
    .default({}),
  FLOWGRES_CRON_TIMEOUT: z.coerce.number('must be a number').int().min(0).max(2_147_483).default(0),
  FLOWGRES_PROXIES: z.coerce.number('must be a number').int().min(0).max(10).default(0),
  FLOWGRES_SMTP_URL: urlOf('smtp:', 'smtps:').optional(),
  FLOWGRES_MAIL_FROM: z.string().min(3).default('Flowgres <flowgres@localhost>'),
  FLOWGRES_JWT_SECRET: z.string().min(32, 'must have at least 32 characters').optional(),
  FLOWGRES_JWT_JWKS_URL: urlOf('https:', 'http:').optional(),
  FLOWGRES_JWT_ISSUER: z.string().min(1).optional(),
  FLOWGRES_JWT_AUDIENCE: z.string().min(1).optional(),
  FLOWGRES_ACCESS_LOG: z.coerce.number('must be a number').min(0, 'must be 0 to 1').max(1, 'must be 0 to 1').default(0.1),
  FLOWGRES_CONCURRENCY: z.coerce.number('must be a number').int().min(1).max(10_000).default(LIMITS.worker.concurrency),
  FLOWGRES_ORGANIZATION_CONCURRENCY: z.coerce
    .number('must be a number')
    .int()
    .min(1)
    .max(10_000)
    .default(LIMITS.worker.organizationConcurrency),
  FLOWGRES_EXPRESSION_TIMEOUT: z.coerce
    .number('must be a number')
    .int()
    .min(1, 'must be 1 or more')
    .max(60_000)
    .default(LIMITS.worker.expressionTimeoutMs),
  FLOWGRES_SCHEDULE_SLOTS: z.coerce.number('must be a number').int().min(1, 'must be 1 or more').max(64).default(LIMITS.schedules.slots),
  FLOWGRES_FIRING_TIMEOUT: z.coerce
    .number('must be a number')
    .int()
    .min(100, 'must be 100 or more')
    .max(60_000)
    .default(LIMITS.schedules.firingTimeoutMs),
  FLOWGRES_VAULT_KEYS: z.string().min(1).optional(),
  FLOWGRES_VAULT_KEYS_COMMAND: z.string().min(1).optional(),
  FLOWGRES_LOCAL_STEPS: z.coerce
    .number('must be a number')
    .int()
    .min(1, 'must be 1 or more')
    .max(LIMITS.worker.localConnections)
    .default(LIMITS.worker.organizationLocalSteps),
});

/** Limits and access of the GraphQL API. */
export interface ApiConfig {
  /** Objects that an answer may have, as estimated before execution. */
  maxCost: number;
  /** Requests per second of one token, and of one address without a token; 0 sets no limit. */
  rateLimit: number;
  anonymousRateLimit: number;
  /**
   * Limits of subscriptions: their number per token and per organization, and the reads per second of an
   * organization.
   */
  subscriptions: SubscriptionSettings;
  /** Tokens (names, values, punctuation) of a document, of a request with a bearer token and of one without. */
  maxTokens: number;
  anonymousMaxTokens: number;
  /** Milliseconds of CPU per second for the documents of one token, and of one network without a token; 0 sets no limit. */
  cpuLimit: number;
  anonymousCpuLimit: number;
  /** Origins of websites that may call the API; `*` for all. */
  corsOrigins: string[];
  /** Whether the Ruru page is served. */
  ruru: boolean;
  /** Whether the console is served. */
  console: boolean;
  /** Folder of persisted operations, and whether other documents are refused. */
  operationsFolder: string | undefined;
  onlyOperations: boolean;
}

/** All settings of a process. */
export interface Config {
  api: ApiConfig;
  /** Who may read /metrics; anybody when not set. */
  metrics: MetricsAccess | undefined;
  /** HTTP port; 0 takes any free one. */
  port: number;
  host: string;
  /** Absolute path of the folder in which `flowgres start` keeps its server. */
  dataFolder: string;
  /** Connection string of the PostgreSQL server; `flowgres start` runs an embedded one when not set. */
  databaseUrl: string | undefined;
  /** Connection string of a transaction pooler in front of the database, for GraphQL requests only. */
  poolerUrl: string | undefined;
  /** The secret that the roles' passwords derive from; the administrator's password serves when not set. */
  secret: string | undefined;
  /** Passwords of single roles: a process needs only those of the roles that it logs in as. */
  passwords: Partial<Record<LoginRole, string | undefined>>;
  /** The share of successful GraphQL requests that the access log records, 0 to 1. */
  accessLog: number;
  /** Steps in flight at a time in one worker, and of these of one organization. */
  concurrency: number;
  organizationConcurrency: number;
  /** Longest time for the expressions of one isolated step, in milliseconds. */
  expressionTimeout: number;
  /** Local steps of one organization that one worker runs at a time. */
  localSteps: number;
  /** Schedules that one worker fires at a time, and the longest time for the start of one of their runs, in milliseconds. */
  scheduleSlots: number;
  firingTimeout: number;
  /** A connection string for each further user whose cron jobs are run; jobs of flowgres_maintenance always are. */
  cronUsers: Record<string, string>;
  /** Longest time for the command of a cron job, in seconds; 0 sets no limit. */
  cronTimeout: number;
  /** Number of proxies between clients and this process, whose X-Forwarded-For is trusted. */
  proxies: number;
  /** SMTP server, with its login in the URL; mail remains in the outbox when not set. */
  mail: { smtpUrl: string; from: string } | undefined;
  /** An identity provider whose tokens are accepted in addition to API tokens and sessions. */
  jwt: JwtConfig | undefined;
  /** `host:port` pairs that httpRequest may reach although their addresses are private. */
  httpAllow: string[];
  /** The origin at which browsers reach this installation. */
  publicUrl: string | undefined;
  /** Name servers for the hosts of httpRequest; the machine's own when empty. */
  dnsServers: string[];
  /** Where the master keys of secrets come from: a file, or a command that prints them. */
  vaultKeys: { file: string } | { command: string } | undefined;
}

/**
 * Reads the settings; an empty variable counts as not set.
 *
 * @throws FlowgresError for settings that are missing, malformed or contradictory
 */
export function readConfig(environment: Record<string, string | undefined> = process.env): Config {
  const present = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
  const parsed = settings.safeParse(present);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const name = String(issue?.path[0]);
    // Do not repeat connection strings in the message: they hold passwords.
    const given = /CRON_USERS|SMTP_URL|SECRET|PASSWORD|TOKEN|VAULT/.test(name) ? '' : `, it is ${JSON.stringify(present[name])}`;
    throw new FlowgresError('INVALID_SETTING', `${name} ${issue?.message}${given}.`);
  }
  const { data } = parsed;
  return {
    metrics: data.NODE_ENV === 'production' || data.FLOWGRES_METRICS_TOKEN ? { token: data.FLOWGRES_METRICS_TOKEN } : undefined,
    port: data.PORT,
    host: data.HOST,
    dataFolder: resolve(data.FLOWGRES_DATA),
    databaseUrl: data.DATABASE_URL,
    poolerUrl: data.FLOWGRES_POOLER_URL,
    secret: data.FLOWGRES_SECRET,
    passwords: {
      flowgres_api: data.FLOWGRES_API_PASSWORD,
      flowgres_intake: data.FLOWGRES_INTAKE_PASSWORD,
      flowgres_worker: data.FLOWGRES_WORKER_PASSWORD,
      flowgres_maintenance: data.FLOWGRES_MAINTENANCE_PASSWORD,
      flowgres_monitor: data.FLOWGRES_MONITOR_PASSWORD,
      flowgres_queue: data.FLOWGRES_QUEUE_PASSWORD,
    },
    accessLog: data.FLOWGRES_ACCESS_LOG,
    concurrency: data.FLOWGRES_CONCURRENCY,
    organizationConcurrency: data.FLOWGRES_ORGANIZATION_CONCURRENCY,
    expressionTimeout: data.FLOWGRES_EXPRESSION_TIMEOUT,
    localSteps: data.FLOWGRES_LOCAL_STEPS,
    scheduleSlots: data.FLOWGRES_SCHEDULE_SLOTS,
    firingTimeout: data.FLOWGRES_FIRING_TIMEOUT,
    cronUsers: data.FLOWGRES_CRON_USERS,
    cronTimeout: data.FLOWGRES_CRON_TIMEOUT,
    proxies: data.FLOWGRES_PROXIES,
    mail: data.FLOWGRES_SMTP_URL ? { smtpUrl: data.FLOWGRES_SMTP_URL, from: data.FLOWGRES_MAIL_FROM } : undefined,
    jwt: jwtOf(data),
    httpAllow: data.FLOWGRES_HTTP_ALLOW,
    publicUrl: data.FLOWGRES_PUBLIC_URL,
    dnsServers: data.FLOWGRES_DNS_SERVERS,
    vaultKeys: vaultKeysOf(data),
    api: {
      maxCost: data.FLOWGRES_MAX_COST,
      rateLimit: data.FLOWGRES_RATE_LIMIT,
      anonymousRateLimit: data.FLOWGRES_ANONYMOUS_RATE_LIMIT,
      subscriptions: {
        perToken: data.FLOWGRES_SUBSCRIPTIONS_PER_TOKEN,
        perOrganization: data.FLOWGRES_SUBSCRIPTIONS_PER_ORGANIZATION,
        readsPerSecond: data.FLOWGRES_SUBSCRIPTION_RATE,
      },
      maxTokens: data.FLOWGRES_MAX_TOKENS,
      anonymousMaxTokens: data.FLOWGRES_ANONYMOUS_MAX_TOKENS,
      cpuLimit: data.FLOWGRES_CPU_LIMIT,
      anonymousCpuLimit: data.FLOWGRES_ANONYMOUS_CPU_LIMIT,
      corsOrigins: data.FLOWGRES_CORS_ORIGINS,
      ruru: data.FLOWGRES_RURU ? data.FLOWGRES_RURU === 'true' : data.NODE_ENV !== 'production',
      console: data.FLOWGRES_CONSOLE === 'true',
      operationsFolder: data.FLOWGRES_OPERATIONS,
      onlyOperations: data.FLOWGRES_ONLY_OPERATIONS === 'true',
    },
  };
}

/** Returns where the master keys come from. */
function vaultKeysOf(data: z.infer<typeof settings>): Config['vaultKeys'] {
  const { FLOWGRES_VAULT_KEYS: file, FLOWGRES_VAULT_KEYS_COMMAND: command } = data;
  if (file && command) {
    throw new FlowgresError('INVALID_SETTING', 'FLOWGRES_VAULT_KEYS and FLOWGRES_VAULT_KEYS_COMMAND exclude each other.', {
      hint: 'Set one of them: the keys come from the file, or from what the command prints.',
    });
  }
  return file ? { file: resolve(file) } : command ? { command } : undefined;
}

/** Requires issuer and audience beside a key: without them tokens that were issued for others would be accepted. */
function jwtOf(data: z.infer<typeof settings>): JwtConfig | undefined {
  const { FLOWGRES_JWT_SECRET: secret, FLOWGRES_JWT_JWKS_URL: jwksUrl } = data;
  if (!secret && !jwksUrl) return undefined;
  const { FLOWGRES_JWT_ISSUER: issuer, FLOWGRES_JWT_AUDIENCE: audience } = data;
  if (issuer && audience) return { secret, jwksUrl, issuer, audience };
  throw new FlowgresError('INVALID_SETTING', 'FLOWGRES_JWT_ISSUER and FLOWGRES_JWT_AUDIENCE are needed to accept JSON Web Tokens.', {
    hint: 'Set them to the `iss` and `aud` that the identity provider writes into its tokens.',
  });
}

/** Returns the configured database URL. Throws when a command needs one and none is set. */
export function requireDatabaseUrl(config: Config): string {
  if (config.databaseUrl) return config.databaseUrl;
  throw new FlowgresError('DATABASE_URL_MISSING', 'DATABASE_URL is not set.', {
    hint: 'Set it to postgres://user:password@host:5432/database, or run `flowgres start`, which brings its own server.',
  });
}

/**
 * Returns the passwords of the roles. A role's own setting comes first, else its password derives from
 * FLOWGRES_SECRET, else from the administrator's password in `url`. A process without either knows only the
 * passwords that were set.
 */
export function rolePasswords(config: Config, url: string): RolePasswords {
  const rootSecret = config.secret ?? administratorSecret(url);
  const derived = rootSecret === undefined ? undefined : derivePasswords(rootSecret);
  return {
    has: (role) => config.passwords[role] !== undefined || derived !== undefined,
    of: (role) => {
      const password = config.passwords[role] ?? derived?.of(role);
      if (password !== undefined) return password;
      const name = `${role.toUpperCase()}_PASSWORD`;
      throw new FlowgresError('SECRET_MISSING', `The password of ${role} is not known: ${name} is not set.`, {
        hint: `Set ${name} to the password that \`flowgres migrate\` gave the role; where it runs, set it or FLOWGRES_SECRET.`,
      });
    },
  };
}

/** Returns the configured database URL with the login of `role`. Throws when none is set. */
export function requireRoleUrl(config: Config, role: LoginRole): string {
  const url = requireDatabaseUrl(config);
  return roleUrl(url, rolePasswords(config, url), role);
}

/**
 * Derives a secret from the administrator's password with a slow hash, so that a role's password does not
 * reveal it.
 */
function administratorSecret(url: string): string | undefined {
  const { username, password } = new URL(url);
  if (!password) return undefined;
  return scryptSync(decodeURIComponent(password), `flowgres roles of ${username}`, 32).toString('base64url');
}

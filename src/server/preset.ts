/** What PostGraphile is told: which plugins, which limits, who a request is. */
import './environment.ts';
import { PgSimplifyInflectionPreset } from '@graphile/simplify-inflection';
import type pg from 'pg';
import { makePgService } from 'postgraphile/adaptors/pg';
import { normalizeConnectionParams } from 'postgraphile/grafserv';
import type { GraphQLError } from 'postgraphile/graphql';
import { PostGraphileAmberPreset } from 'postgraphile/presets/amber';
import { PostGraphileConnectionFilterPreset } from 'postgraphile-plugin-connection-filter';
import type { Accounts } from './accounts.ts';
import { accountsPlugin } from './accounts_graphql.ts';
import { type Authenticator, sessionOf } from './auth.ts';
import { clientSettings } from './client.ts';
import { type LogError, errorMask, replaceError } from './errors.ts';
import { DepthPlugin, LIMITS, PagingPlugin, introspectionErrors } from './limits.ts';
import type { LiveRuns } from './live.ts';
import { NamingPlugin, TagsPlugin, UnsearchablePlugin } from './naming.ts';
import { subscriptionsPlugin } from './subscriptions.ts';

export interface PresetOptions {
  /** Logs in as flowgres_api. */
  pool: pg.Pool;
  live: LiveRuns;
  authenticator: Authenticator;
  accounts: Accounts;
  /** Proxies between clients and this process. */
  proxies: number;
  /** Whether anybody may read the schema, or only requests with a token. */
  openIntrospection: boolean;
  logError: LogError;
}

export function createPreset(options: PresetOptions): GraphileConfig.Preset {
  const { pool, live, authenticator, accounts, proxies, openIntrospection, logError } = options;
  return {
    extends: [PostGraphileAmberPreset, PgSimplifyInflectionPreset, PostGraphileConnectionFilterPreset],
    plugins: [
      NamingPlugin,
      UnsearchablePlugin,
      TagsPlugin,
      PagingPlugin,
      DepthPlugin,
      subscriptionsPlugin(live),
      accountsPlugin(accounts),
      requestPlugin(authenticator, openIntrospection),
    ],
    disablePlugins: [
      // A filter through a relation has no bound on what it costs.
      'PgConnectionArgFilterBackwardRelationsPlugin',
      'PgConnectionArgFilterForwardRelationsPlugin',
      // `filter` does what `condition` does.
      'PgConditionArgumentPlugin',
      // Conveniences for Relay 1, and a second way to what `node(nodeId)` gives.
      'QueryQueryPlugin',
      'RegisterQueryNodePlugin',
      'PgMutationPayloadEdgePlugin',
      'NodeAccessorPlugin',
    ],
    // Arguments without a default are required.
    gather: { pgStrictFunctions: true },
    pgServices: [makePgService({ pool, schemas: ['public'], pubsub: false })],
    schema: {
      dontSwallowErrors: true,
      connectionFilterComputedColumns: false,
      connectionFilterSetofFunctions: false,
      connectionFilterArrays: false,
      connectionFilterAllowedOperators: [
        'isNull',
        'equalTo',
        'notEqualTo',
        'in',
        'lessThan',
        'lessThanOrEqualTo',
        'greaterThan',
        'greaterThanOrEqualTo',
        'contains',
      ],
    },
    grafast: {
      context: ({ http, node, ws }) => ({
        pgSettings: {
          ...settingsOf(http?.getHeader('authorization') ?? bearerOf(ws?.connectionParams)),
          ...clientSettings(node?.req ?? ws?.request, proxies),
        },
      }),
    },
    grafserv: {
      graphqlPath: '/graphql',
      graphiqlPath: '/',
      maxRequestLength: LIMITS.maxBodyBytes,
      maskError: errorMask(logError),
    },
  };
}

/** Every setting on every request, so that nothing of one is left for the next. */
export function settingsOf(authorization: string | undefined): Record<string, string> {
  const session = sessionOf(authorization);
  return {
    role: session === null ? 'flowgres_anonymous' : 'flowgres_user',
    'flowgres.session': session ?? '',
    statement_timeout: LIMITS.statementTimeout,
    lock_timeout: '2s',
    idle_in_transaction_session_timeout: '10s',
    timezone: 'UTC',
  };
}

/** A WebSocket sends its token in `connectionParams`: `{ authorization: "Bearer …" }`. */
export function bearerOf(connectionParams: unknown): string | undefined {
  const value = normalizeConnectionParams(connectionParams as Record<string, unknown>)?.['authorization'];
  return Array.isArray(value) ? value[0] : value;
}

/** Checks the token before anything is executed, and gives every refused document a code. */
function requestPlugin(authenticator: Authenticator, openIntrospection: boolean): GraphileConfig.Plugin {
  return {
    name: 'FlowgresRequestPlugin',
    version: '1.0.0',
    grafserv: {
      middleware: {
        async processGraphQLRequestBody(next, { request, graphqlWsContext }) {
          await authenticator.check(request?.getHeader('authorization') ?? bearerOf(graphqlWsContext?.connectionParams));
          return next();
        },
        setPreset(next, event) {
          const previous = event.getExecutionConfig;
          event.getExecutionConfig = async function (request) {
            const config = await previous.call(this, request);
            const anonymous = (request.http?.getHeader('authorization') ?? bearerOf(request.ws?.connectionParams)) === undefined;
            return {
              ...config,
              // After the cache of validated documents, which all requests share.
              parseAndValidate(query) {
                const result = config.parseAndValidate(query);
                if (result.errors) return { errors: result.errors.map(withCode) };
                const closed = anonymous && !openIntrospection ? introspectionErrors(config.schema, result.document) : [];
                return closed.length > 0 ? { errors: closed.map(withCode) } : result;
              },
            };
          };
          return next();
        },
      },
    },
  };
}

function withCode(error: GraphQLError): GraphQLError {
  return replaceError(error, error.message, { code: 'INVALID_ARGUMENT', ...error.extensions });
}

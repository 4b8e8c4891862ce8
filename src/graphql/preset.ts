/** Configures PostGraphile: plugins, limits, and the settings of a request. */
import './environment.ts';
import { randomUUID } from 'node:crypto';
import { PgSimplifyInflectionPreset } from '@graphile/simplify-inflection';
import type pg from 'pg';
import { PostGraphileAmberPreset } from 'postgraphile/presets/amber';
import { PostGraphileConnectionFilterPreset } from 'postgraphile-plugin-connection-filter';
import type { AccessLog } from '../http/access_log.ts';
import type { Accounts } from '../accounts/accounts.ts';
import { accountsPlugin } from '../accounts/accounts_graphql.ts';
import type { Authorizations } from '../credentials/authorizations.ts';
import type { CredentialCommands } from '../credentials/credentials.ts';
import type { CredentialTests } from '../credentials/test_credential.ts';
import { credentialsPlugin } from '../credentials/credentials_graphql.ts';
import { anonymousPlugin } from './anonymous.ts';
import { sessionOf } from '../http/auth.ts';
import { bodySizePlugin } from './body_size.ts';
import { clientSettings } from '../http/client.ts';
import { costPlugin } from './cost.ts';
import { DescriptionsPlugin } from './descriptions.ts';
import { type DocumentOptions, documentPlugin } from './documents.ts';
import type { LogError } from '../http/errors.ts';
import { enumsPlugin } from './enums.ts';
import { errorMask } from './errors.ts';
import { ExactJsonPlugin } from './exact_json.ts';
import { LIMITS } from './limits.ts';
import { ListOrderPlugin, NewestFirstPlugin } from './list_orders.ts';
import { SESSION_SETTINGS } from '../database/session_settings.ts';
import type { Subscriptions } from './subscribe.ts';
import { NamingPlugin, TagsPlugin, UnsearchablePlugin } from './naming.ts';
import { OwnedPlugin } from './owned.ts';
import { PagePolicyPlugin } from '../http/page_policy.ts';
import { PagingPlugin } from './paging.ts';
import { pipelinedService } from './pg_service.ts';
import { type RequestOptions, bearerOf, requestPlugin } from './requests.ts';
import { RowIdsPlugin } from './row_ids.ts';
import { runEventsPlugin } from './run_events.ts';
import { RunFilterPlugin } from './run_filter.ts';
import { ScalarsPlugin } from './scalars.ts';
import { ShapePlugin } from './shape.ts';
import { workflowRunsPlugin } from './workflow_runs.ts';
import { API_SCHEMA } from '../database/api_schema.ts';

/** Options of {@link createPreset}. */
export interface PresetOptions {
  /** Pool that logs in as flowgres_api. */
  pool: pg.Pool;
  subscriptions: Subscriptions;
  requests: RequestOptions;
  accounts: Accounts;
  credentials: CredentialCommands;
  authorizations: Authorizations;
  credentialTests: CredentialTests;
  /** Objects that an answer may have. */
  maxCost: number;
  documents: DocumentOptions;
  /** Whether the Ruru page is served. */
  ruru: boolean;
  logError: LogError;
  accessLog: AccessLog;
}

/** Returns PostGraphile's configuration. */
export function createPreset(options: PresetOptions): GraphileConfig.Preset {
  const { pool, subscriptions, requests, accounts, credentials, authorizations, maxCost, documents, ruru, logError, accessLog } = options;
  return {
    extends: [PostGraphileAmberPreset, PgSimplifyInflectionPreset, PostGraphileConnectionFilterPreset],
    plugins: [
      OwnedPlugin,
      DescriptionsPlugin,
      enumsPlugin(),
      NamingPlugin,
      UnsearchablePlugin,
      TagsPlugin,
      ShapePlugin,
      RowIdsPlugin,
      RunFilterPlugin,
      ListOrderPlugin,
      NewestFirstPlugin,
      PagingPlugin,
      ScalarsPlugin,
      bodySizePlugin(requests.authenticator),
      ExactJsonPlugin,
      anonymousPlugin((request) => documents.callerOf(request).isAnonymous),
      costPlugin(maxCost),
      // Last of the plugins that refuse documents, so that it measures the time of all of them.
      documentPlugin(documents),
      runEventsPlugin(subscriptions),
      workflowRunsPlugin(subscriptions),
      accountsPlugin(accounts),
      credentialsPlugin(credentials, authorizations, options.credentialTests),
      accessLog.plugin,
      requestPlugin(requests),
      PagePolicyPlugin,
    ],
    disablePlugins: [
      // A filter through a relation has no upper bound on its cost.
      'PgConnectionArgFilterBackwardRelationsPlugin',
      'PgConnectionArgFilterForwardRelationsPlugin',
      // `filter` does the same as `condition`.
      'PgConditionArgumentPlugin',
      // Not needed: support of Relay 1, and a second way to read what `node(nodeId)` reads.
      'QueryQueryPlugin',
      'RegisterQueryNodePlugin',
      'PgMutationPayloadEdgePlugin',
      'NodeAccessorPlugin',
    ],
    // Arguments without a default are required.
    gather: { pgStrictFunctions: true },
    pgServices: [pipelinedService(pool, [API_SCHEMA], { connections: requests.connections, reads: subscriptions.reads })],
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
      context: ({ http, node, ws, requestId, session }) => ({
        pgSettings: {
          ...settingsOf(
            session === undefined ? sessionOf(http?.getHeader('authorization') ?? bearerOf(ws?.connectionParams)) : session,
            requestId ?? randomUUID(),
          ),
          ...clientSettings(node?.req ?? ws?.request, requests.proxies),
        },
      }),
    },
    grafserv: {
      graphqlPath: '/graphql',
      graphiql: ruru,
      graphiqlOnGraphQLGET: ruru,
      graphiqlPath: '/graphiql',
      maxRequestLength: LIMITS.maxTokenBodyBytes,
      // documentPlugin has its own cache, limited by size.
      parseAndValidateCacheSize: 0,
      maskError: accessLog.watchErrors(errorMask(logError)),
    },
  };
}

/** Returns all settings of a request, so that no setting of an earlier request remains in effect. */
export function settingsOf(session: string | null, requestId: string): Record<string, string> {
  return {
    role: session === null ? 'flowgres_anonymous' : 'flowgres_user',
    'flowgres.session': session ?? '',
    'flowgres.request_id': requestId,
    statement_timeout: LIMITS.statementTimeout,
    lock_timeout: '2s',
    idle_in_transaction_session_timeout: '10s',
    // As the role has it: a pooler may carry over the value of an older session.
    timezone: SESSION_SETTINGS['timezone']!,
    datestyle: SESSION_SETTINGS['datestyle']!,
    intervalstyle: SESSION_SETTINGS['intervalstyle']!,
  };
}

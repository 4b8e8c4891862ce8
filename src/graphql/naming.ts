/**
 * Names of database objects in GraphQL, and which objects are left out. Descriptions are the comments of the
 * database; the smart tags are here rather than in those comments, so that `\d+` in psql stays readable.
 */
import { TYPES } from 'postgraphile/@dataplan/pg';
import { type JSONPgSmartTags, jsonPgSmartTags, pgSmartTags } from 'postgraphile/utils';
import { forSchema } from '../database/api_schema.ts';

/** Names of columns with the id of another row that do not end in _id. */
const REFERENCE = /(^|_)(by|of)$/;

/** Names the row's UUID `id` and the global id `nodeId`; PostGraphile's defaults are `rowId` and `id`. */
export const NamingPlugin: GraphileConfig.Plugin = {
  name: 'FlowgresNamingPlugin',
  version: '1.0.0',
  inflection: {
    // simplify-inflection expects this inflector, whose plugin is disabled.
    add: { nodeById: (_options: unknown, typeName: string) => typeName },
    replace: {
      nodeIdFieldName: () => 'nodeId',
      // A column such as started_by holds an id; its name belongs to the row that it leads to.
      _attributeName(previous, _options, details) {
        const name = previous!({ ...details, skipRowId: true });
        const { codec } = details.codec.attributes[details.attributeName] ?? {};
        return codec === TYPES.uuid && REFERENCE.test(details.attributeName) ? `${name}_id` : name;
      },
    },
  },
};

const hidden = { tags: { behavior: '-*' } };
const searchable = { tags: { behavior: '+attribute:filterBy +attribute:orderBy' } };
const filterable = { tags: { behavior: '+attribute:filterBy -attribute:orderBy' } };
const orderable = { tags: { behavior: '-attribute:filterBy +attribute:orderBy' } };
const hiddenFromFilters = { tags: { behavior: '-attribute:filterBy -attribute:orderBy' } };
const required = { tags: { notNull: true as const } };
/** Readable only through its run: a list of the whole table would be slow, since no index supports it. */
const throughRun = '-query:resource:list -query:resource:connection -query:resource:single';
/** No totalCount: counting reads all rows. pageInfo.hasNextPage says whether there are more. */
const uncounted = { behavior: '-totalCount' };
const oneWay = (fieldName: string) => ({ tags: { fieldName, backwardBehavior: '-*' } });
const bothWays = (fieldName: string, foreignFieldName: string) => ({ tags: { fieldName, foreignFieldName } });

const TAGS: JSONPgSmartTags = {
  version: 1,
  config: {
    class: {
      // organizations_webhook_key shows it to users with the right to see it.
      'public.organizations': { attribute: { webhook_key: hidden }, constraint: { organizations_webhook_key_key: hidden } },
      'public.organization_users': {
        constraint: {
          organization_users_organization_id_fkey: bothWays('organization', 'members'),
          organization_users_user_id_fkey: bothWays('user', 'memberships'),
          organization_users_invited_by_fkey: oneWay('invitedBy'),
        },
      },
      'public.teams': {
        constraint: {
          teams_organization_id_id_key: hidden,
          teams_organization_id_fkey: bothWays('organization', 'teams'),
        },
      },
      'public.team_users': {
        constraint: {
          team_users_team_fkey: bothWays('team', 'members'),
          team_users_member_fkey: bothWays('membership', 'teams'),
          team_users_added_by_fkey: oneWay('addedBy'),
        },
      },
      'public.invitations': {
        constraint: {
          invitations_organization_id_id_key: hidden,
          invitations_organization_id_fkey: bothWays('organization', 'invitations'),
          invitations_invited_by_fkey: oneWay('invitedBy'),
        },
      },
      'public.workflows': {
        attribute: {
          name: searchable,
          archived_at: filterable,
          published_version: filterable,
          team_id: filterable,
          template: filterable,
          tags: hiddenFromFilters,
        },
        constraint: {
          workflows_organization_id_id_key: hidden,
          workflows_created_by_fkey: oneWay('createdBy'),
          workflows_team_fkey: bothWays('team', 'workflows'),
          workflows_published_version_fkey: oneWay('published'),
        },
      },
      'public.workflow_versions': {
        constraint: {
          workflow_versions_workflow_fkey: bothWays('workflow', 'versions'),
          workflow_versions_published_by_fkey: oneWay('publishedBy'),
        },
      },
      'public.webhooks': {
        tags: {
          foreignKey:
            '(organization_id, workflow_id) references workflows (organization_id, id)|@fieldName workflow|@foreignFieldName webhooks',
        },
        attribute: { segments: hidden },
        constraint: { webhooks_version_fkey: oneWay('workflowVersion') },
      },
      'public.webhook_deliveries': {
        attribute: { workflow_id: filterable, status: filterable, error: filterable, run_id: filterable },
        constraint: { webhook_deliveries_workflow_fkey: bothWays('workflow', 'webhookDeliveries') },
      },
      'public.webhook_endpoints': {
        constraint: {
          webhook_endpoints_organization_id_id_key: hidden,
          webhook_endpoints_organization_id_fkey: bothWays('organization', 'webhookEndpoints'),
          webhook_endpoints_credential_fkey: oneWay('credential'),
          webhook_endpoints_created_by_fkey: oneWay('createdBy'),
        },
      },
      'public.schedules': {
        tags: {
          foreignKey:
            '(organization_id, workflow_id) references workflows (organization_id, id)|@fieldName workflow|@foreignFieldName schedules',
        },
        constraint: { schedules_version_fkey: oneWay('workflowVersion') },
      },
      'public.variables': {
        attribute: { name: searchable, secret_id: hidden },
        constraint: { variables_updated_by_fkey: oneWay('updatedBy') },
      },
      'public.data_tables': {
        attribute: { name: searchable },
        constraint: {
          data_tables_organization_id_id_key: hidden,
          data_tables_organization_id_name_key: hidden,
          data_tables_organization_id_fkey: bothWays('organization', 'dataTables'),
          data_tables_created_by_fkey: oneWay('createdBy'),
        },
      },
      'public.data_rows': {
        // Rows are found by findDataRows, which uses the index.
        tags: { behavior: throughRun },
        constraint: { data_rows_key_key: hidden, data_rows_table_fkey: oneWay('table') },
      },
      'public.data_change': { attribute: { count: required } },
      'public.credentials': {
        attribute: { name: searchable, type: filterable, user_id: filterable, team_id: filterable },
        constraint: {
          credentials_organization_id_id_key: hidden,
          credentials_organization_id_name_key: hidden,
          credentials_member_fkey: oneWay('membership'),
          credentials_team_fkey: bothWays('team', 'credentials'),
        },
      },
      'public.workflow_change': { attribute: { kind: required, name: required, action: required, fields: required } },
      'public.credential_type': { attribute: { name: required, description: required, schema: required } },
      'public.workflow_runs': {
        tags: {
          ...uncounted,
          foreignKey: [
            '(organization_id, workflow_id) references workflows (organization_id, id)|@fieldName workflow|@foreignFieldName runs',
            '(parent_run_id) references workflow_runs (id)|@fieldName parent|@foreignFieldName children',
            '(retry_of) references workflow_runs (id)|@fieldName retryOf|@backwardBehavior -*',
            '(retried_by) references workflow_runs (id)|@fieldName retriedBy|@backwardBehavior -*',
            '(started_by) references users (id)|@fieldName startedBy|@backwardBehavior -*',
          ],
        },
        // Its filter and further orders: run_filter.ts.
        attribute: { id: orderable },
        constraint: {
          workflow_runs_organization_id_id_key: hidden,
          workflow_runs_version_fkey: oneWay('workflowVersion'),
        },
      },
      'public.workflow_events': {
        tags: { behavior: throughRun },
        constraint: { workflow_events_run_fkey: oneWay('run') },
      },
      'public.workflow_run_logs': { tags: { behavior: throughRun } },
      'public.workflow_difference': { attribute: { pointer: required, kind: required } },
      'public.workflow_template': { attribute: { id: required, name: required, tags: required, definition: required, own: required } },
      'public.workflow_import': { attribute: { workflow_id: required, problems: required } },
      'public.workflow_test_event': { attribute: { seq: required, type: required, payload: required } },
      'public.workflow_run_steps': {
        tags: { behavior: throughRun },
        attribute: { run_id: required, node: required, status: required, started_at: required },
      },
      'public.bulk_operations': {
        tags: { foreignKey: '(started_by) references users (id)|@fieldName startedBy|@backwardBehavior -*' },
      },
      'public.node_type': {
        attribute: {
          name: required,
          version: required,
          kind: required,
          description: required,
          ports: required,
          inputs: required,
          properties: required,
          category: required,
          icon: required,
        },
      },
      'public.workflow_run_count': { attribute: { count: required, is_exact: required } },
      'public.workflow_run_stats': { attribute: { runs: required, groups: required } },
      'public.workflow_run_stats_group': {
        attribute: {
          runs: required,
          waiting: required,
          running: required,
          paused: required,
          success: required,
          error: required,
          canceled: required,
        },
      },
      'public.workflow_run_graph': {
        attribute: { run_id: required, status: required, nodes: required, connections: required },
      },
      'public.workflow_run_graph_node': { attribute: { node: required, type: required } },
      'public.workflow_run_graph_link': {
        attribute: { source: required, source_output: required, target: required, target_input: required, passed: required },
      },
      'public.audit_log': { attribute: { id: searchable } },
      'public.api_access_log': { attribute: { id: searchable } },
      // Renamed, because GraphQL uses the name Subscription.
      'public.subscriptions': {
        tags: { name: 'plan_subscriptions' },
        constraint: {
          subscriptions_organization_id_fkey: oneWay('organization'),
          subscriptions_plan_id_fkey: oneWay('plan'),
        },
      },
      'public.plan_limits': { constraint: { plan_limits_plan_id_fkey: bothWays('plan', 'limits') } },
      'public.organization_limits': { constraint: { organization_limits_organization_id_fkey: oneWay('organization') } },
      'public.team_limits': { constraint: { team_limits_team_fkey: bothWays('team', 'limits') } },
      // The view has no keys of its own. The given key orders its lists; there is no field for a single row.
      'public.entitlements': {
        tags: { unique: 'metric|@behavior -single' },
        attribute: { metric: required, is_over: required },
      },
      'public.api_token': { attribute: { id: required, name: required, prefix: required, scopes: required, created_at: required } },
      'public.new_api_token': { attribute: { secret: required, token: required } },
      'public.session': { attribute: { id: required, kind: required, is_current: required, created_at: required, expires_at: required } },
      'public.new_invitation': { attribute: { code: required, invitation: required } },
    },
    procedure: {
      // current_organization and current_user serve the same purpose.
      'public.current_organization_id': hidden,
      'public.current_user_id': hidden,
      // Called only by accounts_graphql.ts and auth.ts, which hash and verify before.
      'public.register_user': hidden,
      'public.begin_login': hidden,
      'public.login': hidden,
      'public.reset_password': hidden,
      'public.change_password': hidden,
      'public.rehash_password': hidden,
      'public.open_identity_session': hidden,
      // Called only by src/credentials, which seals secrets before.
      'public.create_credential': hidden,
      'public.set_variable': hidden,
      'public.update_credential': hidden,
    },
  },
};

/**
 * Hides filters and orders of partitioned tables: PostGraphile offers the indexed columns of a table, but all
 * columns of a partitioned one. Also hides organization_id, since a request sees one organization only.
 */
export const UnsearchablePlugin: GraphileConfig.Plugin = pgSmartTags(
  {
    kind: 'attribute',
    match: (attribute) => attribute.getClass()?.relkind === 'p' || attribute.attname === 'organization_id',
    tags: { behavior: '-attribute:filterBy -attribute:orderBy' },
  },
  null,
  { name: 'FlowgresUnsearchablePlugin' },
);

/** Returns the tags for the schema of the API: those above are written for `public`. */
function inSchema<T extends Record<string, unknown>>(config: T): T {
  const named = (entries: unknown) =>
    Object.fromEntries(Object.entries(entries as Record<string, unknown>).map(([name, tags]) => [forSchema(name), tags]));
  return Object.fromEntries(Object.entries(config).map(([kind, entries]) => [kind, named(entries)])) as T;
}

/** Applies the smart tags above. */
export const TagsPlugin: GraphileConfig.Plugin = jsonPgSmartTags({ ...TAGS, config: inSchema(TAGS.config) }, null, {
  name: 'FlowgresTagsPlugin',
});

/**
 * Arguments for every function of the API, with the things of one organization. A function that takes none of them has
 * the same arguments for all. The access matrix, the comparison of SQL with GraphQL and the fuzz begin with them.
 */
import type { World } from './fixture.ts';

export type Arguments = Record<string, unknown>;

const DEFINITION = { nodes: [{ id: 'start', type: 'apiTrigger' }], connections: [] };
const runRow = ({ run, organization, workflow }: World) => ({
  run: {
    id: run,
    organization_id: organization.id,
    workflow_id: workflow.id,
    status: 'success',
    started_at: '2026-01-01T00:00:00Z',
    finished_at: '2026-01-01T00:00:01Z',
  },
});

export const ARGUMENTS: Record<string, (world: World) => Arguments> = {
  accept_invitation: ({ invitation }) => ({ code: invitation.code }),
  add_team_member: ({ team, member }) => ({ team, user: member.id, role: 'admin' }),
  api_tokens: () => ({}),
  apply_workflows: () => ({
    documents: [{ name: 'Applied', definition: DEFINITION }],
    variables: { applied: 1 },
    prune: true,
    message: 'x',
  }),
  approve_step: ({ waiting }) => ({ run: waiting, node: 'check', approved: false, comment: 'no' }),
  archive_workflow: ({ workflow }) => ({ id: workflow.id }),
  assign_workflow: ({ workflow, team }) => ({ id: workflow.id, team }),
  cancel_runs: ({ waits }) => ({ filter: { workflowId: { equalTo: waits } }, reason: 'enough' }),
  cancel_run: ({ waiting }) => ({ run: waiting, reason: 'enough' }),
  change_email: () => ({ email: 'next@example.com' }),
  change_plan: ({ organization }) => ({ plan: 'free', organization: organization.id }),
  copy_template: ({ template }) => ({ id: template, name: 'Copy' }),
  credential_types: () => ({}),
  create_api_token: () => ({ name: 'x', scopes: ['runs:read'] }),
  create_data_table: () => ({ name: 'next', schema: { type: 'object' }, key: 'email', description: 'Next' }),
  create_organization: () => ({ name: 'Next', slug: 'next' }),
  create_team: () => ({ name: 'Support', slug: 'support' }),
  create_webhook_endpoint: ({ signing }) => ({ url: 'https://example.com/next', events: ['run.failed'], credential: signing }),
  create_workflow: () => ({ name: 'Next', definition: DEFINITION, tags: ['a'] }),
  current_organization: () => ({}),
  current_organization_id: () => ({}),
  current_user: () => ({}),
  current_user_id: () => ({}),
  dead_letters: ({ failing }) => ({ workflow: failing }),
  delete_credential: ({ credential }) => ({ id: credential }),
  delete_data_rows: ({ table }) => ({ data_table: table, filter: { email: 'nobody' } }),
  delete_data_table: ({ table }) => ({ id: table }),
  delete_organization: ({ organization }) => ({ id: organization.id, confirm_slug: organization.slug }),
  delete_team: ({ team }) => ({ id: team }),
  delete_user: ({ other }) => ({ id: other.id, confirm_email: other.email }),
  delete_webhook_endpoint: ({ endpoint }) => ({ id: endpoint }),
  delete_variable: () => ({ name: 'rate' }),
  export_workflow: ({ workflow }) => ({ id: workflow.id }),
  find_data_rows: ({ table }) => ({ data_table: table, filter: { email: 'ada' }, row_limit: 10 }),
  fork_run: ({ run }) => ({ run, from_node: 'end', input: { a: 2 } }),
  get_workflow_run_events: ({ run }) => ({ run_id: run }),
  import_n8n_workflow: () => ({ doc: { nodes: [], connections: {} }, name: 'Import' }),
  increment_data_row: ({ table }) => ({ data_table: table, key: 'ada', property: 'visits', amount: 2 }),
  insert_data_rows: ({ table }) => ({ data_table: table, rows: [{ email: 'joe' }] }),
  invite_member: () => ({ email: 'next@example.com', role: 'member' }),
  leave_organization: () => ({}),
  logout: () => ({}),
  node_types: () => ({}),
  pause_run: ({ waiting }) => ({ run: waiting, reason: 'wait' }),
  plan_workflows: () => ({ documents: [{ name: 'Applied', definition: DEFINITION }], prune: true }),
  preview_schedule: () => ({ cron: '0 9 * * *', timezone: 'UTC', count: 2 }),
  publish_workflow: ({ workflow }) => ({ id: workflow.id, message: 'Again' }),
  redeliver_webhook: ({ delivery }) => ({ delivery }),
  remove_member: ({ other }) => ({ user: other.id }),
  remove_team_member: ({ team, other }) => ({ team, user: other.id }),
  request_password_reset: () => ({ email: 'nobody@example.com' }),
  restore_organization: ({ organization }) => ({ id: organization.id }),
  resume_run: ({ waiting }) => ({ run: waiting }),
  retry_run: ({ failed }) => ({ run: failed }),
  retry_runs: ({ failing }) => ({ filter: { workflowId: { equalTo: failing } } }),
  workflow_run_stats: ({ failing }) => ({ filter: { workflowId: { equalTo: failing } }, group_by: 'status' }),
  workflow_run_count: ({ failing }) => ({ filter: { workflowId: { equalTo: failing } } }),
  revoke_api_token: ({ tokenId }) => ({ id: tokenId }),
  revoke_invitation: ({ invitation }) => ({ id: invitation.id }),
  revoke_other_sessions: () => ({}),
  revoke_session: ({ sessionId }) => ({ id: sessionId }),
  rotate_webhook_key: () => ({ grace_hours: 1 }),
  rollback_workflow: ({ workflow }) => ({ id: workflow.id, version: 1 }),
  save_workflow: ({ workflow }) => ({ id: workflow.id, definition: DEFINITION, expected_revision: workflow.revision, name: 'Saved' }),
  search_workflows: () => ({ query: 'main' }),
  sessions: () => ({}),
  set_global_role: ({ other }) => ({ user: other.id, role: 'super_admin' }),
  set_member_role: ({ other }) => ({ user: other.id, role: 'admin' }),
  set_organization_limit: () => ({ metric: 'workflows', value: 10 }),
  set_team_limit: ({ team }) => ({ team, metric: 'workflows', value: 10 }),
  set_template: ({ workflow }) => ({ id: workflow.id, template: 'organization' }),
  set_variable: () => ({ name: 'rate', value: { percent: 19 } }),
  share_credential: ({ credential, team }) => ({ id: credential, team }),
  signal_run: ({ waiting }) => ({ run: waiting, name: 'paid', payload: { amount: 1 } }),
  start_workflow_run: ({ workflow }) => ({ workflow: workflow.id, input: { a: 1 } }),
  switch_organization: ({ organization }) => ({ id: organization.id }),
  test_workflow: () => ({ definition: DEFINITION, input: { a: 1 } }),
  transfer_ownership: ({ other }) => ({ to_user: other.id }),
  unpublish_workflow: ({ workflow }) => ({ id: workflow.id }),
  update_data_rows: ({ table }) => ({ data_table: table, filter: { email: 'nobody' }, values: { visits: 1 } }),
  update_data_table: ({ table }) => ({ id: table, description: 'Changed' }),
  upsert_data_rows: ({ table }) => ({ data_table: table, rows: { email: 'ada', visits: 1 } }),
  update_organization: () => ({ description: 'Things' }),
  update_profile: () => ({ name: 'Ada' }),
  update_webhook_endpoint: ({ endpoint }) => ({ id: endpoint, events: ['run.succeeded'] }),
  update_team: ({ team }) => ({ id: team, color: '#ff8800' }),
  usage: ({ organization }) => ({ organization: organization.id }),
  validate_workflow: () => ({ definition: { nodes: [], connections: [] } }),
  verify_email: () => ({ code: 'x' }),
  verify_run: ({ run }) => ({ run }),
  workflow_runs_duration_ms: runRow,
  workflow_runs_events: runRow,
  workflow_runs_events_expired: runRow,
  workflow_runs_input: runRow,
  workflow_runs_latest_events: runRow,
  workflow_runs_logs: runRow,
  workflow_runs_output: runRow,
  workflow_runs_steps: runRow,
  workflow_run_graph: ({ run }) => ({ run }),
  workflow_schema: () => ({}),
  workflow_templates: () => ({}),
  workflow_version_diff: ({ workflow }) => ({ workflow: workflow.id, from_version: 1, to_version: 2 }),
  organizations_webhook_key: (world) => ({ organization: { id: world.organization.id, webhook_key: world.organization.webhookKey } }),
  workflows_is_over_limit: (world) => ({ workflow: { id: world.workflow.id, organization_id: world.organization.id } }),
};

/** The same for mutations and subscriptions that exist in GraphQL only. */
export const GRAPHQL_ARGUMENTS: Record<string, (world: World) => Arguments> = {
  authorizeCredential: ({ credential }) => ({ id: credential }),
  testCredential: ({ credential }) => ({ id: credential, url: 'https://crm.example' }),
  createCredential: () => ({ name: crypto.randomUUID(), type: 'bearer', data: { token: 'some token' } }),
  updateCredential: ({ credential }) => ({ id: credential, allowedHosts: ['crm.example'] }),
  changePassword: () => ({ currentPassword: 'not the password', password: 'a new password' }),
  login: () => ({ email: `${crypto.randomUUID()}@example.com`, password: 'not the password' }),
  registerUser: () => ({ name: 'Ada', email: 'ada@example.com', password: 'a new password' }),
  resetPassword: () => ({ code: 'x', password: 'a new password' }),
  workflowRunEvents: ({ run }) => ({ runId: run }),
  workflowRuns: ({ waits }) => ({ workflowId: waits }),
};

/** The arguments of a function of the API. */
export const argumentsOf = (name: string, world: World): Arguments => ARGUMENTS[name]!(world);

/** Throws when nobody has thought of a function yet. */
export function requireArguments(functions: { name: string }[]): void {
  const names = functions.map(({ name }) => name);
  const missing = names.filter((name) => !ARGUMENTS[name]);
  if (missing.length) throw new Error(`No arguments for ${missing.join(', ')}: add them to test/api/access/arguments.ts.`);
  const gone = Object.keys(ARGUMENTS).filter((name) => !names.includes(name));
  if (gone.length) throw new Error(`There is no function ${gone.join(', ')}: take it out of test/api/access/arguments.ts.`);
}

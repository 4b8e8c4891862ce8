/** Creates organizations and workflows through the API that users call. */
import { randomBytes } from 'node:crypto';
import { type Session, type TestDatabase, asUser } from './database.ts';

/** An organization with its owner. */
export interface TestOrganization {
  id: string;
  slug: string;
  /** The key in its webhook addresses after /hooks/. */
  webhookKey: string;
  /** User id of its owner. */
  userId: string;
  /** The owner's API token with every scope. */
  token: string;
  /** The database as a request with that token sees it. */
  user: Session;
}

const ALL_SCOPES = ['workflows:write', 'runs:write', 'organization:write'];

/** Creates an organization with an owner who has a token. */
export async function createOrganization(db: TestDatabase, name = 'Acme'): Promise<TestOrganization> {
  const unique = randomBytes(4).toString('hex');
  const client = await db.admin.connect();
  try {
    const { rows: users } = await client.query<{ id: string }>('insert into users (name, email) values ($1, $2) returning id', [
      `Owner of ${name}`,
      `owner-${unique}@example.com`,
    ]);
    const userId = users[0]!.id;
    await client.query('select set_context(null, $1)', [userId]);
    const { rows: organizations } = await client.query<{ id: string; slug: string; webhook_key: string }>(
      'select id, slug, webhook_key from create_organization($1, $2)',
      [name, `${name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-')}-${unique}`],
    );
    const { id, slug, webhook_key: webhookKey } = organizations[0]!;
    const { rows: tokens } = await client.query<{ secret: string }>(`select secret from create_api_token('test', $1)`, [ALL_SCOPES]);
    const token = tokens[0]!.secret;
    return { id, slug, webhookKey, userId, token, user: asUser(db, token) };
  } finally {
    // The context is a setting of the connection, so the connection is closed.
    client.release(true);
  }
}

/** The definition of a workflow. */
export interface Definition {
  nodes: { id: string; type: string; properties?: Record<string, unknown>; [key: string]: unknown }[];
  connections: { source: string; target: string; sourceOutput?: string; targetInput?: string }[];
  settings?: Record<string, unknown>;
}

/** A published workflow. */
export interface TestWorkflow {
  id: string;
  version: number;
}

/** Creates and publishes a workflow of the organization. */
export async function publishWorkflow(organization: TestOrganization, definition: Definition, name = 'Test'): Promise<TestWorkflow> {
  const { rows } = await organization.user.query<{ id: string }>('select id from create_workflow(name => $1, definition => $2)', [
    name,
    JSON.stringify(definition),
  ]);
  const { id } = rows[0]!;
  const { rows: versions } = await organization.user.query<{ version: number }>('select version from publish_workflow(id => $1)', [id]);
  return { id, version: versions[0]!.version };
}

/** Returns a definition of successive nodes: `chain({ id: 'start', type: 'apiTrigger' }, …)`. */
export function chain(...nodes: Definition['nodes']): Definition {
  const connections = nodes.slice(1).map((node, index) => ({ source: nodes[index]!.id, target: node.id }));
  return { nodes, connections };
}

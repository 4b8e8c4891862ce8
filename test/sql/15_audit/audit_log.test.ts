/** The audit log: which changes it records, with whom and without secrets, and that it is append-only. */
import { beforeAll, describe, expect, test } from 'vitest';
import { connect } from '../../../src/database/connections.ts';
import { type TestDatabase, asUser, createTestDatabase } from '../../helpers/database.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../helpers/factory.ts';
import { freezeClock } from '../../helpers/partitions.ts';

let db: TestDatabase;
let acme: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
});

interface Entry {
  table_name: string;
  operation: string;
  row_key: Record<string, unknown> | null;
  before: Record<string, unknown> | null;
  after: Record<string, unknown> | null;
  organization_id: string | null;
  user_id: string | null;
  token_id: string | null;
  session_id: string | null;
  database_role: string;
  client_address: string | null;
  request_id: string | null;
}

/** What a piece of work leaves in the log, oldest first. */
async function entriesOf(work: () => Promise<unknown>): Promise<Entry[]> {
  const { rows } = await db.admin.query<{ last: string }>(`select coalesce(max(id::text), '0') as last from audit_log`);
  await work();
  return (await db.admin.query<Entry>('select * from audit_log where id::text > $1 order by id', [rows[0]!.last])).rows;
}

const START = chain({ id: 'start', type: 'apiTrigger' });
const createWorkflow = (user: TestOrganization['user'], name: string) =>
  user.query('select id from create_workflow($1, $2)', [name, JSON.stringify(START)]);

describe('a change through the API', () => {
  test('is there with the user, the token, the role of the connection and the request id', async () => {
    const entries = await entriesOf(() =>
      acme.user.transaction(async (client) => {
        await client.query(
          `select set_config('flowgres.request_id', 'request-17', true), set_config('flowgres.client_ip', '203.0.113.7', true)`,
        );
        await client.query('select create_workflow($1, $2)', ['Orders', JSON.stringify(START)]);
      }),
    );
    const { rows: tokens } = await db.admin.query('select id from private.api_tokens where organization_id = $1', [acme.id]);
    expect(entries).toEqual([
      expect.objectContaining({
        table_name: 'public.workflows',
        operation: 'insert',
        organization_id: acme.id,
        user_id: acme.userId,
        token_id: tokens[0].id,
        session_id: null,
        database_role: 'flowgres_api',
        client_address: '203.0.113.7',
        request_id: 'request-17',
        before: null,
        after: expect.objectContaining({ name: 'Orders' }),
      }),
    ]);
  });

  test('keeps of a definition the hash and the size only', async () => {
    const [entry] = await entriesOf(() => createWorkflow(acme.user, 'Digest'));
    const { rows } = await db.admin.query(
      `select encode(sha256(convert_to(definition::text, 'UTF8')), 'hex') as sha256, octet_length(definition::text) as bytes
       from workflows where name = 'Digest'`,
    );
    expect(entry!.after!['definition']).toEqual(rows[0]);
  });

  test('has the changed columns of an update, before and after', async () => {
    const { rows } = await createWorkflow(acme.user, 'Before');
    const entries = await entriesOf(() =>
      acme.user.query(`select save_workflow($1, $2, 1, name => 'After')`, [rows[0]!['id'], JSON.stringify(START)]),
    );
    expect(entries).toMatchObject([
      {
        operation: 'update',
        row_key: { id: rows[0]!['id'] },
        before: { name: 'Before', revision: 1 },
        after: { name: 'After', revision: 2 },
      },
    ]);
    expect(Object.keys(entries[0]!.after!).sort()).toEqual(['name', 'revision']);
  });

  test('that is rolled back is not there', async () => {
    const entries = await entriesOf(() =>
      acme.user
        .transaction(async (client) => {
          await client.query('select create_workflow($1, $2)', ['Never', JSON.stringify(START)]);
          throw new Error('changed my mind');
        })
        .catch(() => {}),
    );
    expect(entries).toEqual([]);
  });

  test('never has a secret', async () => {
    const entries = await entriesOf(async () => {
      const { rows } = await acme.user.query<{ secret: string; id: string }>(
        `select t.secret, (t.token).id from create_api_token('CI', '{runs:read}') as t`,
      );
      await acme.user.query('select revoke_api_token($1)', [rows[0]!.id]);
    });
    expect(entries).toMatchObject([
      { table_name: 'private.api_tokens', operation: 'insert', after: { name: 'CI', token_hash: '***' } },
      { table_name: 'private.api_tokens', operation: 'update', before: { revoked_at: null } },
    ]);
    const { rows } = await db.admin.query(
      `select from audit_log as a, private.api_tokens as t, organizations as o
       where position(substr(t.token_hash::text, 3) in a::text) > 0 or position(o.webhook_key in a::text) > 0`,
    );
    expect(rows).toEqual([]);
  });
});

describe('a change in psql', () => {
  test('by a DBA is there with the role and without a user', async () => {
    const entries = await entriesOf(() => db.admin.query(`update organizations set name = 'Acme Ltd' where id = $1`, [acme.id]));
    expect(entries).toMatchObject([
      {
        table_name: 'public.organizations',
        operation: 'update',
        organization_id: acme.id,
        user_id: null,
        token_id: null,
        session_id: null,
        database_role: 'postgres',
        client_address: '127.0.0.1',
        before: { name: 'Acme' },
        after: { name: 'Acme Ltd' },
      },
    ]);
  });

  test('after set_context has the session and the user as well', async () => {
    const client = await connect(db.adminUrl);
    await client.query('select set_context($1, $2)', [acme.id, acme.userId]);
    const [entry] = await entriesOf(() => client.query('select create_workflow($1, $2)', ['By hand', JSON.stringify(START)]));
    await client.end();
    expect(entry).toMatchObject({ user_id: acme.userId, token_id: null, session_id: expect.any(String), database_role: 'postgres' });
  });

  test('of nothing but the time of change is none', async () => {
    expect(await entriesOf(() => db.admin.query('update organizations set updated_at = now()'))).toEqual([]);
  });

  test('has what a cascade took along', async () => {
    const other = await createOrganization(db, 'Gone');
    await publishWorkflow(other, START, 'Gone too');
    const entries = await entriesOf(() => db.admin.query('delete from organizations where id = $1', [other.id]));
    expect(new Set(entries.map(({ table_name }) => table_name))).toEqual(
      new Set(['public.organizations', 'public.organization_users', 'private.api_tokens', 'public.workflows', 'public.workflow_versions']),
    );
    expect(entries.every(({ operation, organization_id }) => operation === 'delete' && organization_id === other.id)).toBe(true);
  });

  test('that truncates a table is there once', async () => {
    const other = await createTestDatabase();
    await other.admin.query('truncate private.api_tokens cascade');
    const { rows } = await other.admin.query(`select operation, row_key, after from audit_log where table_name = 'private.api_tokens'`);
    expect(rows).toEqual([{ operation: 'truncate', row_key: null, after: null }]);
  });
});

describe('nobody changes the log', () => {
  test.each(['update audit_log set user_id = null', 'delete from audit_log', 'truncate audit_log'])('by %s', async (statement) => {
    await expect(acme.user.query(statement)).rejects.toMatchObject({ code: '42501' });
    for (const role of ['flowgres_api', 'flowgres_intake', 'flowgres_worker', 'flowgres_monitor', 'flowgres_maintenance'] as const) {
      await expect(db.pool(role).query(statement)).rejects.toMatchObject({ code: '42501' });
    }
    // Neither the owner nor a superuser, as long as they do not mean it.
    await expect(db.admin.query(statement)).rejects.toMatchObject({ code: 'WF005' });
    await expect(db.admin.query(`set role flowgres_owner; ${statement}`)).rejects.toMatchObject({ code: 'WF005' });
  });

  test('by naming a partition', async () => {
    const { rows } = await db.admin.query('select tableoid::regclass as name from audit_log limit 1');
    await expect(db.admin.query(`delete from ${rows[0].name}`)).rejects.toMatchObject({ code: 'WF005' });
    await expect(acme.user.query(`select from ${rows[0].name}`)).rejects.toMatchObject({ code: '42501' });
  });
});

describe('the log is read', () => {
  const tables = async (session: TestOrganization['user']) =>
    (await session.query<{ table_name: string }>('select distinct table_name from audit_log')).rows.map((row) => row.table_name);
  const member = async (role: string, scopes: string) => {
    const { rows } = await db.admin.query<{ id: string }>(
      `with u as (insert into users (name, email) values ('Someone', gen_random_uuid() || '@example.com') returning id)
       insert into organization_users (organization_id, user_id, role) select $1, id, $2 from u returning user_id as id`,
      [acme.id, role],
    );
    const client = await connect(db.adminUrl);
    await client.query('select set_context($1, $2)', [acme.id, rows[0]!.id]);
    const token = await client.query<{ secret: string }>(`select secret from create_api_token('log', $1)`, [scopes]);
    await client.end();
    return asUser(db, token.rows[0]!.secret);
  };

  test('by owners and admins of the organization', async () => {
    expect(await tables(acme.user)).toContain('public.workflows');
    expect(await tables(await member('admin', '{organization:read}'))).toContain('public.workflows');
  });

  test('not by members, nor with a token for something else', async () => {
    expect(await tables(await member('member', '{organization:read}'))).toEqual([]);
    expect(await tables(await member('owner', '{runs:read}'))).toEqual([]);
  });

  test('not by another organization; what belongs to none is for DBAs', async () => {
    const other = await createOrganization(db, 'Other');
    const { rows } = await other.user.query('select distinct organization_id from audit_log');
    expect(rows).toEqual([{ organization_id: other.id }]);
    expect(await tables(other.user)).not.toContain('public.users');
  });
});

test('every table of configuration is under audit, and no other', async () => {
  const derived = ['webhooks', 'schedules'];
  const { rows } = await db.admin.query<{ name: string; audited: boolean }>(`
    select c.relname as name, exists (select from pg_trigger as t where t.tgrelid = c.oid and t.tgname = '_900_audit') as audited
    from pg_class as c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition`);
  const contents = [
    'data_rows',
    'workflow_runs',
    'workflow_events',
    'workflow_run_logs',
    'bulk_operations',
    'audit_log',
    'api_access_log',
    'webhook_deliveries',
  ];
  const wrong = rows.filter(({ name, audited }) => audited === (contents.includes(name) || derived.includes(name)));
  expect(wrong.map(({ name }) => name)).toEqual([]);
});

test('a change is written down also when the maintenance of partitions has stood still', async () => {
  const late = await createTestDatabase();
  await freezeClock(late, '2031-05-05T00:00:00Z');
  await createOrganization(late);
  const { rows } = await late.admin.query('select count(*)::int as entries, min(at) as at from audit_log');
  expect(rows).toEqual([{ entries: expect.any(Number), at: new Date('2031-05-05T00:00:00Z') }]);
});

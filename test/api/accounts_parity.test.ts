/** The same function in psql and through GraphQL: the same row, the same error code. */
import type pg from 'pg';
import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { createOrganization } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';
import { type TestPerson, createMember } from '../helpers/people.ts';

const UNKNOWN = '01900000-0000-7000-8000-000000000000';

let db: TestDatabase;
let server: TestServer;
let owner: TestPerson;
let ids: Record<string, string>;
beforeAll(async () => {
  db = await createTestDatabase();
  server = await serveGraphql(db);
  const [acme, globex] = [await createOrganization(db), await createOrganization(db, 'Globex')];
  owner = await createMember(db, acme, 'owner');
  await db.admin.query(`update organization_users set role = 'member' where user_id = $1`, [acme.userId]);
  const { rows } = await owner.user.query<{ id: string }>(`select id from create_team('Sales', 'sales')`);
  ids = { organization: acme.id, other: globex.id, member: acme.userId, self: owner.id, team: rows[0]!.id, unknown: UNKNOWN };
});

type Value = string | string[] | null;
/** Function, arguments ($name is an id from above), columns to compare. */
const CALLS: [string, Record<string, Value>, string[]][] = [
  ['update_profile', { name: 'Ada' }, ['name']],
  ['update_profile', { name: ' ' }, []],
  ['change_email', { email: 'next@example.com' }, []],
  ['change_email', { email: 'nobody' }, []],
  ['update_organization', { description: 'Things' }, ['name', 'description']],
  ['update_organization', { slug: 'admin' }, []],
  ['switch_organization', { id: '$organization' }, ['id', 'name']],
  ['switch_organization', { id: '$other' }, []],
  ['delete_organization', { id: '$organization', confirm_slug: 'wrong' }, []],
  ['delete_organization', { id: '$other', confirm_slug: 'wrong' }, []],
  ['restore_organization', { id: '$organization' }, ['id', 'name']],
  ['restore_organization', { id: '$other' }, []],
  ['set_member_role', { user: '$member', role: 'admin' }, ['role']],
  ['set_member_role', { user: '$member', role: 'king' }, []],
  ['set_member_role', { user: '$unknown', role: 'admin' }, []],
  ['remove_member', { user: '$unknown' }, []],
  ['leave_organization', {}, []],
  ['transfer_ownership', { to_user: '$self' }, ['role']],
  ['transfer_ownership', { to_user: '$unknown' }, []],
  ['invite_member', { email: 'bo' }, []],
  ['accept_invitation', { code: 'x' }, []],
  ['revoke_invitation', { id: '$unknown' }, []],
  ['create_team', { name: 'Sales', slug: 'sales' }, []],
  ['create_team', { name: 'Sales', slug: 'Not A Slug' }, []],
  ['update_team', { id: '$team', color: '#FF8800' }, ['name', 'color']],
  ['update_team', { id: '$unknown' }, []],
  ['add_team_member', { team: '$team', user: '$member', role: 'admin' }, ['role']],
  ['add_team_member', { team: '$team', user: '$unknown' }, []],
  ['remove_team_member', { team: '$team', user: '$unknown' }, []],
  ['delete_team', { id: '$unknown' }, []],
  ['create_api_token', { name: 'x', scopes: ['runs:fly'] }, []],
  ['revoke_api_token', { id: '$unknown' }, []],
  ['revoke_session', { id: '$unknown' }, []],
  ['revoke_other_sessions', {}, []],
  ['verify_email', { code: 'x' }, []],
  ['request_password_reset', { email: 'nobody@example.com' }, []],
  ['request_password_reset', { email: 'nobody' }, []],
  ['delete_user', { id: '$self', confirm_email: 'wrong' }, []],
  ['delete_user', { id: '$unknown', confirm_email: 'wrong' }, []],
  ['set_global_role', { user: '$self', role: 'super_admin' }, []],
  ['create_organization', { name: 'X', slug: 'x' }, []],
];

const camel = (name: string) => name.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase());

test.each(CALLS)('%s(%o)', async (name, given, columns) => {
  const args = Object.entries(given).map(
    ([key, value]) => [key, typeof value === 'string' && value.startsWith('$') ? ids[value.slice(1)]! : value] as const,
  );
  const places = args.map(([key], place) => `"${key}" => $${place + 1}`).join(', ');
  const fields = columns.length ? `, ${columns.map((column) => `result.${column}`).join(', ')}` : '';
  const inSql = await owner.user
    .query(
      `select true as done${fields} from public.${name}(${places}) as result`,
      args.map(([, value]) => value),
    )
    .then(({ rows }) => ({ row: Object.fromEntries(columns.map((column) => [column, rows[0]![column]])) }))
    .catch((error: pg.DatabaseError) => ({ code: JSON.parse(error.detail!).code, message: error.message }));

  const input = `{ ${args.map(([key, value]) => `${camel(key)}: ${JSON.stringify(value)}`).join(', ')} }`;
  const selection = columns.length ? `result { ${columns.map(camel).join(' ')} }` : 'clientMutationId';
  const { data, errors } = await server.query(owner.secret, `mutation { ${camel(name)}(input: ${input}) { ${selection} } }`);
  const inGraphql = errors
    ? { code: errors[0]!.extensions!.code, message: errors[0]!.message }
    : { row: Object.fromEntries(columns.map((column) => [column, data[camel(name)].result[camel(column)]])) };
  expect(inGraphql).toEqual(inSql);
});

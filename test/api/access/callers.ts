/** The kinds of requests: who asks, and for whom. */
import { asAnonymous, asUser, type Session } from '../../helpers/database.ts';
import { createPerson } from '../../helpers/people.ts';
import type { World, Worlds } from './fixture.ts';

export interface Caller {
  name: string;
  /** Its bearer token. */
  secret: string | null;
  session: Session;
  /** The organization that it is of: nothing of any other one may be reached. */
  home: World | null;
}

const SCOPES = ['workflows:read', 'workflows:write', 'runs:read', 'runs:write', 'organization:read', 'organization:write'];
const ALL = SCOPES.filter((scope) => scope.endsWith(':write'));

export async function createCallers({ db, acme, globex }: Worlds): Promise<Caller[]> {
  const caller = (name: string, secret: string, home: World | null): Caller => ({ name, secret, session: asUser(db, secret), home });
  const token = async ({ user }: Pick<World['owner'], 'user'>, scopes: string[]) =>
    (await user.query<{ secret: string }>('select secret from create_api_token($1, $2)', ['test', scopes])).rows[0]!.secret;

  const ofScopes: Caller[] = [];
  for (const scope of SCOPES) ofScopes.push(caller(scope, await token(acme.owner, [scope]), acme));
  const root = await createPerson(db, 'Root');
  await db.admin.query(`update users set global_role = 'super_admin' where id = $1`, [root.id]);
  return [
    { name: 'anonymous', secret: null, session: asAnonymous(db), home: null },
    caller('member', acme.member.secret, acme),
    caller('admin', acme.admin.secret, acme),
    caller('owner', acme.owner.secret, acme),
    ...ofScopes,
    caller('token of member', await token(acme.member, ALL), acme),
    caller('token of organization', await organizationToken(db, acme), acme),
    caller('outsider', globex.owner.secret, globex),
    caller('super admin', root.secret, null),
  ];
}

/** A token with nobody behind it, as a DBA makes it. */
async function organizationToken({ admin }: Worlds['db'], { organization }: World): Promise<string> {
  const client = await admin.connect();
  try {
    await client.query('select set_context($1)', [organization.id]);
    return (await client.query('select secret from create_api_token($1, $2)', ['organization', ALL])).rows[0].secret;
  } finally {
    client.release(true);
  }
}

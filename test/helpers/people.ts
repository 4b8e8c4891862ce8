/** Logged-in users, and the mails that the outbox has for them. */
import { randomBytes } from 'node:crypto';
import { type Session, type TestDatabase, asUser } from './database.ts';
import type { TestOrganization } from './factory.ts';

/** A logged-in user. */
export interface TestPerson {
  id: string;
  email: string;
  /** The bearer secret of the session. */
  secret: string;
  /** The database as a request with that secret sees it. */
  user: Session;
}

/** Creates a user with a verified address and a session. */
export async function createPerson(db: TestDatabase, name = 'Ada'): Promise<TestPerson> {
  const email = `${name.toLowerCase()}-${randomBytes(4).toString('hex')}@example.com`;
  const { rows } = await db.admin.query<{ id: string }>(
    'insert into users (name, email, email_verified_at) values ($1, $2, now()) returning id',
    [name, email],
  );
  const { id } = rows[0]!;
  return { id, email, ...(await logIn(db, id)) };
}

/** Creates another session of a user. */
export async function logIn(db: TestDatabase, userId: string): Promise<Pick<TestPerson, 'secret' | 'user'>> {
  const { rows } = await db.admin.query<{ secret: string }>(
    `with made as (select private.new_secret('fs_') as secret),
     opened as (select private.open_session($1, 'login', private.hash_secret(secret), now() + interval '30 days') from made)
     select secret from made, opened`,
    [userId],
  );
  const { secret } = rows[0]!;
  return { secret, user: asUser(db, secret) };
}

/** Creates a user who is a member of an organization, which is active in the user's session. */
export async function createMember(db: TestDatabase, organization: { id: string }, role = 'member', name = role): Promise<TestPerson> {
  const person = await createPerson(db, name);
  await db.admin.query('insert into organization_users (organization_id, user_id, role) values ($1, $2, $3)', [
    organization.id,
    person.id,
    role,
  ]);
  return { ...person, ...(await logIn(db, person.id)) };
}

/** Logs in the owner of an organization of the factory. */
export async function logInOwner(db: TestDatabase, organization: TestOrganization): Promise<Session> {
  return (await logIn(db, organization.userId)).user;
}

/** Returns the newest mail in the outbox to an address. */
export async function readMail(db: TestDatabase, recipient: string): Promise<{ subject: string; body: string } | undefined> {
  const { rows } = await db.admin.query<{ subject: string; body: string }>(
    'select subject, body from engine.unsent_mails() where lower(recipient) = lower($1) limit 1',
    [recipient],
  );
  return rows[0];
}

/** Returns the code in that mail. */
export async function readCode(db: TestDatabase, recipient: string): Promise<string> {
  const mail = await readMail(db, recipient);
  const [, code] = /The code is (\S{22}) /.exec(mail?.body ?? '') ?? [];
  if (!code) throw new Error(`no code for ${recipient}`);
  return code;
}

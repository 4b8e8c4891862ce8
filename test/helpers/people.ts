/** People who are logged in, and what the outbox has for them. */
import { randomBytes } from 'node:crypto';
import { type Session, type TestDatabase, asUser } from './database.ts';
import type { TestOrganization } from './factory.ts';

export interface TestPerson {
  id: string;
  email: string;
  /** The secret of a session. */
  secret: string;
  /** The database as that session sees it. */
  user: Session;
}

/** Somebody with a verified address and a session. */
export async function createPerson(db: TestDatabase, name = 'Ada'): Promise<TestPerson> {
  const email = `${name.toLowerCase()}-${randomBytes(4).toString('hex')}@example.com`;
  const { rows } = await db.admin.query<{ id: string }>(
    'insert into users (name, email, email_verified_at) values ($1, $2, now()) returning id',
    [name, email],
  );
  const { id } = rows[0]!;
  return { id, email, ...(await logIn(db, id)) };
}

/** Another session of somebody. */
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

/** Puts somebody into an organization, which becomes the active one of a new session of his. */
export async function createMember(db: TestDatabase, organization: { id: string }, role = 'member', name = role): Promise<TestPerson> {
  const person = await createPerson(db, name);
  await db.admin.query('insert into organization_users (organization_id, user_id, role) values ($1, $2, $3)', [
    organization.id,
    person.id,
    role,
  ]);
  return { ...person, ...(await logIn(db, person.id)) };
}

/** The owner of an organization of the factory, logged in. */
export async function logInOwner(db: TestDatabase, organization: TestOrganization): Promise<Session> {
  return (await logIn(db, organization.userId)).user;
}

/** The newest mail to an address that waits in the outbox. */
export async function readMail(db: TestDatabase, recipient: string): Promise<{ subject: string; body: string } | undefined> {
  const { rows } = await db.admin.query<{ subject: string; body: string }>(
    'select subject, body from engine.unsent_mails() where lower(recipient) = lower($1) limit 1',
    [recipient],
  );
  return rows[0];
}

/** The code in it. */
export async function readCode(db: TestDatabase, recipient: string): Promise<string> {
  const mail = await readMail(db, recipient);
  const [, code] = /The code is (\S{22}) /.exec(mail?.body ?? '') ?? [];
  if (!code) throw new Error(`no code for ${recipient}`);
  return code;
}

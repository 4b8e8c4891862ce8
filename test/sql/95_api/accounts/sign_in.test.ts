/** Registration, login, lockout, reset and sessions in SQL. */
import { createHash, randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { Passwords } from '../../../../src/accounts/passwords.ts';
import { type TestDatabase, asAnonymous, asUser, createTestDatabase } from '../../../helpers/database.ts';
import { createOrganization } from '../../../helpers/factory.ts';
import { type TestPerson, createMember, createPerson, logIn, readCode, readMail } from '../../../helpers/people.ts';

const passwords = new Passwords({ ln: 4, r: 1, p: 1 });
const PASSWORD = 'correct horse battery';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});

const address = () => `${randomUUID().slice(0, 8)}@example.com`;
const api = (text: string, values: unknown[]) => db.pool('flowgres_api').query(text, values);
const register = async (email: string, password = PASSWORD) =>
  api('select register_user($1, $2, $3) as answer', ['Ada', email, await passwords.hash(password)]);
const verify = (code: string | null) => asAnonymous(db).query<{ id: string }>('select verify_email($1) as id', [code]);

async function logInWith(email: string, password = PASSWORD) {
  const { rows } = await api('select begin_login($1) as settings', [email]);
  const key = await passwords.key(password, rows[0].settings ?? passwords.newSettings());
  return (await api('select * from login($1, $2)', [email, key])).rows[0];
}

async function account(password = PASSWORD): Promise<{ id: string; email: string }> {
  const email = address();
  await register(email, password);
  return { email, id: (await verify(await readCode(db, email))).rows[0]!.id };
}

describe('registration', () => {
  test('waits for the code from the mail; then there is a user who can log in', async () => {
    const email = address();
    await register(email);
    expect((await db.admin.query('select from users where email = $1', [email])).rowCount).toBe(0);
    await expect(logInWith(email)).rejects.toMatchObject({ code: 'WF004' });
    const { rows } = await verify(await readCode(db, email));
    const session = await logInWith(email.toUpperCase());
    expect(session).toMatchObject({ secret: expect.stringMatching(/^fs_[\w-]{49}$/), user_id: rows[0]!.id, organization_id: null });
    const who = await asUser(db, session.secret).query('select name, email, global_role from public.current_user()');
    expect(who.rows).toEqual([{ name: 'Ada', email, global_role: 'user' }]);
  });

  test('is answered the same for an address that has an account, whose owner is told', async () => {
    const { email } = await account();
    const [known, unknown] = [await register(email, 'another password'), await register(address())];
    expect(known.rows).toEqual(unknown.rows);
    expect(await readMail(db, email)).toMatchObject({ subject: 'You have an account already', body: expect.not.stringContaining('code') });
    await logInWith(email);
  });

  test('by a squatter neither keeps the owner of the address out nor gives the squatter anything', async () => {
    const email = address();
    await register(email, 'of the squatter');
    await register(email, PASSWORD);
    await verify(await readCode(db, email));
    await logInWith(email);
    await expect(logInWith(email, 'of the squatter')).rejects.toMatchObject({ code: 'WF004' });
    const { rows } = await db.admin.query<{ body: string }>('select body from engine.unsent_mails() where recipient = $1', [email]);
    const [, earlier] = /The code is (\S{22}) /.exec(rows.at(-1)!.body)!;
    await expect(verify(earlier!)).rejects.toMatchObject({ code: 'WF003' });
  });

  test('refuses names, addresses and hashes that are none, and nulls', async () => {
    const hash = await passwords.hash(PASSWORD);
    for (const values of [
      [' ', address(), hash],
      ['x'.repeat(201), address(), hash],
      ['Ada', 'nobody', hash],
      ['Ada', 'a@b\nc', hash],
      ['Ada', address(), 'plain text'],
      [null, address(), hash],
      ['Ada', null, hash],
      ['Ada', address(), null],
    ]) {
      await expect(api('select register_user($1, $2, $3)', values)).rejects.toMatchObject({ code: 'WF001' });
    }
  });

  test('sends nobody more than five mails an hour', async () => {
    const email = address();
    for (let time = 0; time < 7; time += 1) expect((await register(email)).rows).toEqual([{ answer: true }]);
    expect((await db.admin.query('select from engine.unsent_mails() where recipient = $1', [email])).rowCount).toBe(5);
  });

  test('is not for requests: they go through the server, which hashes', async () => {
    const person = await createPerson(db);
    for (const text of [
      `select register_user('A', 'a@example.com', 'x')`,
      `select begin_login('a@example.com')`,
      `select login('a@example.com', '')`,
      `select reset_password('x', 'x')`,
      `select change_password('', 'x')`,
      `select open_identity_session('i', 's', sha256(''), now())`,
    ]) {
      await expect(person.user.query(text)).rejects.toMatchObject({ code: '42501' });
      await expect(asAnonymous(db).query(text)).rejects.toMatchObject({ code: '42501' });
    }
  });
});

describe('a code', () => {
  test('works once, until it expires, and only as it stands in the mail', async () => {
    const email = address();
    await register(email);
    const code = await readCode(db, email);
    for (const wrong of [code.toLowerCase().toUpperCase(), 'x', '', null]) {
      if (wrong !== code) await expect(verify(wrong)).rejects.toMatchObject({ code: 'WF002' });
    }
    await verify(code);
    await expect(verify(code)).rejects.toMatchObject({ code: 'WF008', detail: expect.stringContaining('usedAt') });
    const late = address();
    await register(late);
    await db.admin.query('update private.email_codes set expires_at = now() where email = $1', [late]);
    await expect(verify(await readCode(db, late))).rejects.toMatchObject({ code: 'WF014' });
  });

  test('is kept as a hash, and its password with it only until it is used', async () => {
    const { email } = await account();
    const { rows } = await db.admin.query('select code_hash, password_hash from private.email_codes where email = $1', [email]);
    expect(rows).toEqual([
      {
        code_hash: createHash('sha256')
          .update(await readCode(db, email))
          .digest(),
        password_hash: null,
      },
    ]);
  });

  test('of two who send it at once makes one account', async () => {
    const email = address();
    await register(email);
    const code = await readCode(db, email);
    const outcomes = await Promise.allSettled([verify(code), verify(code), verify(code)]);
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect((await db.admin.query('select from users where email = $1', [email])).rowCount).toBe(1);
  });
});

describe('login', () => {
  test('fails alike for a wrong password, an unknown address and an unverified one', async () => {
    const { email } = await account();
    const unverified = address();
    await db.admin.query('insert into users (name, email) values ($1, $2)', ['Unverified', unverified]);
    const failures = await Promise.all(
      [email, address(), unverified].map((each) => logInWith(each, 'wrong').catch((error: unknown) => error)),
    );
    for (const failure of failures) {
      expect(failure).toMatchObject({ code: 'WF004' });
      expect(failure).toMatchObject({ message: (failures[0] as Error).message, hint: (failures[0] as { hint: string }).hint });
    }
  });

  test('needs the key, not what is stored of it', async () => {
    const { email, id } = await account();
    const { rows } = await db.admin.query<{ hash: string }>('select hash from private.passwords where user_id = $1', [id]);
    const stored = Buffer.from(rows[0]!.hash.split('$')[4]!, 'base64');
    await expect(api('select login($1, $2)', [email, stored])).rejects.toMatchObject({ code: 'WF004' });
    await expect(api('select login($1, null)', [email])).rejects.toMatchObject({ code: 'WF004' });
    await expect(api('select login(null, $1)', [stored])).rejects.toMatchObject({ code: 'WF004' });
  });

  test('begins in the organization that was active last, else in the one joined first, never in a deleted one', async () => {
    const { email, id } = await account();
    const [first, second] = [await createOrganization(db, 'First'), await createOrganization(db, 'Second')];
    for (const [place, { id: organization }] of [first, second].entries()) {
      await db.admin.query(
        `insert into organization_users (organization_id, user_id, created_at) values ($1, $2, now() + $3 * interval '1 s')`,
        [organization, id, place],
      );
    }
    const session = await logInWith(email);
    expect(session.organization_id).toBe(first.id);
    await asUser(db, session.secret).query('select switch_organization($1)', [second.id]);
    expect((await logInWith(email)).organization_id).toBe(second.id);
    await db.admin.query('select delete_organization($1, $2)', [second.id, second.slug]);
    expect((await logInWith(email)).organization_id).toBe(first.id);
  });
});

describe('the lockout', () => {
  const attempt = (email: string, ip: string) =>
    db
      .pool('flowgres_api')
      .connect()
      .then(async (client) => {
        try {
          await client.query('begin');
          await client.query(`select set_config('flowgres.client_ip', $1, true)`, [ip]);
          await client.query('select begin_login($1)', [email]);
          await client.query('commit');
          return 'counted';
        } catch (error) {
          await client.query('rollback');
          return error as { code: string; detail: string };
        } finally {
          client.release();
        }
      });

  test('counts exactly, also when all try at once, and says when it ends', async () => {
    const { email } = await account();
    const outcomes = await Promise.all(Array.from({ length: 40 }, () => attempt(email, '192.0.2.1')));
    expect(outcomes.filter((outcome) => outcome === 'counted')).toHaveLength(10);
    const refused = outcomes.find((outcome) => outcome !== 'counted') as { code: string; detail: string };
    expect(refused.code).toBe('WF013');
    const { retryAfterMs } = JSON.parse(refused.detail);
    expect(retryAfterMs).toBeGreaterThan(14 * 60_000);
    expect(retryAfterMs).toBeLessThanOrEqual(15 * 60_000);
  });

  test('is the same for an address without an account', async () => {
    const email = address();
    for (let time = 0; time < 10; time += 1) expect(await attempt(email, '192.0.2.7')).toBe('counted');
    expect(await attempt(email, '192.0.2.99')).toMatchObject({ code: 'WF013' });
  });

  test('is of one network, so that nobody is locked out by others, until there are very many', async () => {
    const { email } = await account();
    for (let time = 0; time < 11; time += 1) await attempt(email, '192.0.2.1');
    expect(await attempt(email, '198.51.100.1')).toBe('counted');
    // 2001:db8::/48 is one network.
    for (let time = 0; time < 10; time += 1) expect(await attempt(email, `2001:db8:0:${time}::1`)).toBe('counted');
    expect(await attempt(email, '2001:db8:0:77::1')).toMatchObject({ code: 'WF013' });
    await db.admin.query(`update private.throttles set used = 100 where key = private.throttle_key(array['login', $1::text])`, [email]);
    expect(await attempt(email, '203.0.113.1')).toMatchObject({ code: 'WF013' });
  });

  test('ends by the clock, and a login that succeeds is not counted', async () => {
    const other = await createTestDatabase();
    const count = () => other.pool('flowgres_api').query(`select begin_login('a@example.com')`);
    await other.admin.query(`insert into private.test_mode (frozen_at) values ('2030-01-01')`);
    for (let time = 0; time < 10; time += 1) await count();
    await expect(count()).rejects.toMatchObject({ code: 'WF013' });
    await other.admin.query(`update private.test_mode set frozen_at = '2030-01-01 00:15:01'`);
    await count();
    const { email } = await account();
    for (let time = 0; time < 12; time += 1) await logInWith(email);
  });
});

describe('a password', () => {
  let person: TestPerson;
  beforeAll(async () => {
    const { id, email } = await account();
    person = { id, email, ...(await logIn(db, id)) };
  });
  const reset = async (email: string) => (await asAnonymous(db).query('select request_password_reset($1) as answer', [email])).rows;

  test('is reset by a code, which ends all sessions and the lockout', async () => {
    for (let time = 0; time < 11; time += 1) await logInWith(person.email, 'wrong').catch(() => undefined);
    await expect(logInWith(person.email)).rejects.toMatchObject({ code: 'WF013' });
    await reset(person.email);
    const [earlier, code] = [await readCode(db, person.email), (await reset(person.email)) && (await readCode(db, person.email))];
    const hash = await passwords.hash('a new password');
    expect((await api('select reset_password($1, $2) as id', [code, hash])).rows).toEqual([{ id: person.id }]);
    for (const used of [code, earlier]) {
      await expect(api('select reset_password($1, $2)', [used, hash])).rejects.toMatchObject({ code: 'WF008' });
    }
    expect((await person.user.query('select current_user_id() as id')).rows).toEqual([{ id: null }]);
    await logInWith(person.email, 'a new password');
    await expect(logInWith(person.email, PASSWORD)).rejects.toMatchObject({ code: 'WF004' });
  });

  test('that is reset for an unknown address is answered the same, and nobody gets a mail', async () => {
    const unknown = address();
    expect(await reset(unknown)).toEqual(await reset((await account()).email));
    expect(await readMail(db, unknown)).toBeUndefined();
    await expect(reset('nobody')).rejects.toMatchObject({ code: 'WF001' });
  });

  test('is not reset by a code to verify an address, nor the other way round', async () => {
    const { email } = await account();
    await register(email);
    await reset(email);
    await expect(verify(await readCode(db, email))).rejects.toMatchObject({ code: 'WF002' });
    const fresh = address();
    await register(fresh);
    const hash = await passwords.hash('a new password');
    await expect(api('select reset_password($1, $2)', [await readCode(db, fresh), hash])).rejects.toMatchObject({ code: 'WF002' });
  });
});

describe('an address', () => {
  test('is changed when the new one is verified', async () => {
    const { id, email } = await account();
    const { user } = await logIn(db, id);
    const next = address();
    await user.query('select change_email($1)', [next]);
    await logInWith(email);
    await verify(await readCode(db, next));
    await logInWith(next);
    await expect(logInWith(email)).rejects.toMatchObject({ code: 'WF004' });
  });

  test('of somebody else cannot be taken over', async () => {
    const [victim, thief] = [await account(), await createPerson(db)];
    await thief.user.query('select change_email($1)', [victim.email]);
    await expect(verify(await readCode(db, victim.email))).rejects.toMatchObject({ code: 'WF003' });
    expect((await thief.user.query('select email from public.current_user()')).rows).toEqual([{ email: thief.email }]);
  });
});

describe('sessions', () => {
  test('are listed to their owner, without secrets, and end one by one or all but one', async () => {
    const person = await createPerson(db);
    const [second, third] = [await logIn(db, person.id), await logIn(db, person.id)];
    const { rows } = await person.user.query('select * from sessions()');
    expect(rows).toHaveLength(3);
    expect(rows.filter((row) => row['is_current'])).toHaveLength(1);
    expect(Object.keys(rows[0]!)).not.toContain('token_hash');
    const { rows: current } = await second.user.query<{ id: string }>('select id from sessions() where is_current');
    await person.user.query('select revoke_session($1)', [current[0]!.id]);
    await person.user.query('select revoke_session($1)', [current[0]!.id]);
    expect((await second.user.query('select current_user_id() as id')).rows).toEqual([{ id: null }]);
    expect((await person.user.query('select revoke_other_sessions() as ended')).rows).toEqual([{ ended: 1 }]);
    expect((await third.user.query('select current_user_id() as id')).rows).toEqual([{ id: null }]);
    await person.user.query('select logout()');
    await expect(person.user.query('select logout()')).rejects.toMatchObject({ code: 'WF004' });
  });

  test('of others are neither seen nor ended, and a token sees none', async () => {
    const [person, other] = [await createPerson(db), await createPerson(db)];
    const { rows } = await other.user.query<{ id: string }>('select id from sessions()');
    await expect(person.user.query('select revoke_session($1)', [rows[0]!.id])).rejects.toMatchObject({ code: 'WF002' });
    const acme = await createOrganization(db);
    await logIn(db, acme.userId);
    expect((await acme.user.query('select * from sessions()')).rowCount).toBe(0);
    await expect(acme.user.query('select revoke_other_sessions()')).rejects.toMatchObject({ code: 'WF005' });
  });

  test('say where they began: the client and its network, not its address', async () => {
    const person = await createPerson(db);
    const begun = await db.admin.connect();
    try {
      await begun.query(`select set_config('flowgres.client_ip', '192.0.2.77', false), set_config('flowgres.user_agent', $1, false)`, [
        'x'.repeat(300),
      ]);
      await begun.query(`select private.open_session($1, 'login', sha256('s'), now() + interval '1 day')`, [person.id]);
    } finally {
      begun.release(true);
    }
    const { rows } = await person.user.query('select ip_prefix, user_agent from sessions() where not is_current');
    expect(rows).toEqual([{ ip_prefix: '192.0.2.0/24', user_agent: 'x'.repeat(200) }]);
  });
});

test('use of a secret is written at most once a minute', async () => {
  const acme = await createOrganization(db);
  const member = await createMember(db, acme);
  const hashes = [acme.token, member.secret, acme.token, 'unknown'].map((secret) => createHash('sha256').update(secret).digest('hex'));
  await db.admin.query(`update private.sessions set last_seen_at = now() - interval '2 minutes' where user_id = $1`, [member.id]);
  const record = async () => (await api('select engine.record_use($1) as written', [hashes])).rows[0].written;
  expect(await record()).toBe(2);
  expect(await record()).toBe(0);
  expect((await acme.user.query('select last_used_at is not null as used from api_tokens()')).rows).toEqual([{ used: true }]);
});

/** Throttles: what is counted under which key, how many mails an address gets, which names and addresses are valid. */
import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../../helpers/factory.ts';
import { createMember, createPerson, logIn } from '../../helpers/people.ts';

let db: TestDatabase;
let acme: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
});

const address = () => `${randomUUID().slice(0, 8)}@example.com`;
const HASH = `$scrypt$ln=4,r=1,p=1$${'A'.repeat(22)}$${'B'.repeat(43)}`;

/** A statement as the server sends it for a client at an address. */
async function from(ip: string, text: string, values: unknown[]): Promise<string> {
  const client = await db.pool('flowgres_api').connect();
  try {
    await client.query('begin');
    await client.query(`select set_config('flowgres.client_ip', $1, true)`, [ip]);
    await client.query(text, values);
    await client.query('commit');
    return 'done';
  } catch (error) {
    await client.query('rollback');
    return (error as { code: string }).code;
  } finally {
    client.release();
  }
}
const register = (email: string, ip: string) => from(ip, 'select register_user($1, $2, $3)', ['Ada', email, HASH]);
const reset = (email: string, ip: string) => from(ip, 'select request_password_reset($1)', [email]);
const login = (email: string, ip: string) => from(ip, 'select begin_login($1)', [email]);
const mails = async (recipient: string, like = '%'): Promise<number> =>
  (await db.admin.query('select from engine.unsent_mails() where recipient = $1 and subject like $2', [recipient, like])).rowCount!;

describe('what is counted', () => {
  test('for one person cannot be counted for another by any text', async () => {
    const keys = [
      ['login', 'a@b.example', '192.0.2.0/24'],
      ['login', 'a@b.example from 192.0.2.0/24'],
      ['login', 'a@b.example', '192.0.2.0', '24'],
      ['login', '["a@b.example","192.0.2.0/24"]'],
      ['login a@b.example', '192.0.2.0/24'],
      ['login', 'a@b.example","192.0.2.0/24'],
      ['login', 'a@b.example', null],
      ['login', 'a@b.example', 'NULL'],
      ['login', 'a@b.example', ''],
    ];
    const { rows } = await db.admin.query<{ different: number }>(
      'select count(distinct private.throttle_key(array(select jsonb_array_elements_text(k))))::int as different from jsonb_array_elements($1) as k',
      [JSON.stringify(keys)],
    );
    expect(rows[0]!.different).toBe(keys.length);
  });

  test('locks nobody out by an address that looks like a person and a network', async () => {
    const { email } = await createPerson(db);
    const twin = `${email} from 203.0.113.0/24`;
    for (let time = 0; time < 101; time += 1) expect(await login(twin, '198.51.100.1')).toBe('WF001');
    expect(await login(email, '203.0.113.5')).toBe('done');
  });
});

describe('mails', () => {
  test('of five registrations by strangers suppress no reset of a password', async () => {
    const { email } = await createPerson(db);
    for (let time = 0; time < 60; time += 1) await register(email, `198.51.${time}.1`);
    expect(await mails(email, 'You have an account%')).toBe(10);
    expect(await reset(email, '203.0.113.1')).toBe('done');
    expect(await mails(email, 'Reset your password')).toBe(1);
  });

  test('that one network asks for too often do not use up what others may ask for', async () => {
    const email = address();
    for (let time = 0; time < 40; time += 1) await register(email, '192.0.2.1');
    expect(await mails(email)).toBe(5);
    await register(email, '203.0.113.9');
    expect(await mails(email)).toBe(6);
  });

  test('to strangers by changing one’s address end after five an hour, with an error that says when to go on', async () => {
    const person = await createPerson(db);
    const change = (email: string) => person.user.query('select change_email($1)', [email]);
    for (let time = 0; time < 5; time += 1) await change(address());
    await expect(change(address())).rejects.toMatchObject({ code: 'WF013', detail: expect.stringContaining('retryAfterMs') });
  });

  test('of invitations are limited by person over all organizations, and by address', async () => {
    const person = await createPerson(db);
    const globex = await createOrganization(db, 'Globex');
    const invite = async (organization: TestOrganization, email: string) => {
      const { user } = await logIn(db, person.id);
      await user.query('select switch_organization($1)', [organization.id]);
      return user.query('select invite_member($1)', [email]);
    };
    for (const { id } of [acme, globex]) {
      await db.admin.query(`insert into organization_users (organization_id, user_id, role) values ($1, $2, 'admin')`, [id, person.id]);
    }
    const email = address();
    for (let time = 0; time < 5; time += 1) await invite(acme, email);
    await expect(invite(acme, email)).rejects.toMatchObject({ code: 'WF013' });
    await invite(globex, email);
    expect(await mails(email)).toBe(5);
    await db.admin.query('update private.throttles set used = 200 where key = private.throttle_key($1)', [['invite by user', person.id]]);
    await expect(invite(globex, address())).rejects.toMatchObject({ code: 'WF013' });
  });
});

describe('a name', () => {
  const BAD = [
    '',
    ' ',
    'a\r\nBcc: all@example.com',
    'tab\there',
    'bell\u0007',
    'next\u0085line',
    'line\u2028',
    'turned \u202eround',
    'x'.repeat(201),
  ];

  test('has no control characters, wherever people type one, and the error says which field it is', async () => {
    const owner = await createMember(db, acme, 'owner');
    const { rows } = await owner.user.query<{ id: string }>(`select id from create_workflow('Workflow', '{}')`);
    const { rows: teams } = await owner.user.query<{ id: string }>(`select id from create_team('Team', 'team')`);
    const calls: [string, unknown[]][] = [
      ['select create_organization($1, $2)', [randomUUID().slice(0, 8).replace(/^/, 'o')]],
      ['select update_organization(name => $1)', []],
      [`select create_team($1, 'other')`, []],
      ['select update_team($2, $1)', [teams[0]!.id]],
      [`select create_api_token($1, '{runs:read}')`, []],
      ['select update_profile($1)', []],
      [`select create_workflow($1, '{}')`, []],
      [`select save_workflow($2, '{}', 1, $1)`, [rows[0]!.id]],
      [`select copy_template($2, $1)`, [rows[0]!.id]],
    ];
    await owner.user.query(`select set_template($1, 'organization')`, [rows[0]!.id]);
    for (const [text, values] of calls) {
      for (const name of BAD) {
        await expect(owner.user.query(text, [name, ...values]), `${text} ${JSON.stringify(name)}`).rejects.toMatchObject({
          code: 'WF001',
          detail: expect.stringContaining('"field": "name"'),
        });
      }
    }
    await owner.user.query('select update_profile($1)', ['Zoë “ß” ﷺ 李 👩‍👩‍👧 Ada-Łukasz']);
  });

  test('is checked by one function in every table that has one that people type', async () => {
    const { rows } = await db.admin.query<{ place: string; has: boolean }>(`
      select format('%s.%s', c.conrelid::regclass, a.attname) as place,
        pg_get_constraintdef(c.oid) ~ 'private\\.is_(name|email)\\(' as has
      from pg_constraint as c
      join pg_attribute as a on a.attrelid = c.conrelid and c.conkey = array[a.attnum]
      where c.contype = 'c' and a.attname in ('name', 'email')
        and c.conrelid::regclass::text ~ '^(public\\.)?(users|organizations|teams|workflows|plans|invitations)$|^private\\.(api_tokens|email_codes)$'
      order by 1`);
    expect(rows.map(({ place }) => place)).toEqual([
      'invitations.email',
      'organizations.name',
      'plans.name',
      'private.api_tokens.name',
      'private.email_codes.email',
      'private.email_codes.name',
      'teams.name',
      'users.email',
      'users.name',
      'workflows.name',
    ]);
    expect(rows.filter(({ has }) => !has)).toEqual([]);
  });

  test('of somebody whom an identity provider calls anything becomes one', async () => {
    const { rows } = await db.admin.query<{ name: string }>(
      `select private.clean_name($1, 'Unnamed') as name
      union all select private.clean_name(e'\\n', 'Unnamed') union all select private.clean_name(null, 'Unnamed')`,
      ['Ada\r\nBcc: x'],
    );
    expect(rows.map(({ name }) => name)).toEqual(['Ada Bcc: x', 'Unnamed', 'Unnamed']);
  });
});

test.each([
  ['ada@example.com', true],
  ['a.b+c_d-e@sub.example.co', true],
  ['o’neill@exämple.de', true],
  ['李@例え.jp', true],
  ['root@localhost', true],
  ['owner@b.example from 203.0.113.0/24', false],
  ['a b@example.com', false],
  ['a@b@example.com', false],
  ['a\u0000@example.com'.replace('\u0000', '\u0001'), false],
  ['a@example.com\r\nBcc: all@example.com', false],
  ['a@example.com\n', false],
  ['evil,ada@example.com', false],
  ['"a b"@example.com', false],
  ['<a@example.com>', false],
  ['a@example.com(x)', false],
  ['a@exam\u00a0ple.com', false],
  ['a@example.com;b', false],
  ['nobody', false],
  ['@example.com', false],
  ['a@', false],
  [`${'x'.repeat(65)}@example.com`, false],
  [`a@${'x'.repeat(260)}`, false],
])('the address %j can be one: %s', async (text, is) => {
  expect((await db.admin.query('select private.is_email($1) as is', [text])).rows).toEqual([{ is }]);
});

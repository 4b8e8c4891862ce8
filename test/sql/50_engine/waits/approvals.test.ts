/** Approvals: who may give one, and that the first decision counts. */
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Session, type TestDatabase, asUser, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
let admin: Member;
let member: Member;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
  admin = await join('admin');
  member = await join('member');
});
beforeEach(() => engine.freeze(null));

interface Member {
  id: string;
  email: string;
  session: Session;
}

/** Somebody who belongs to the organization in that role. */
async function join(role: string): Promise<Member> {
  const email = `${role}@example.com`;
  const { rows: users } = await db.admin.query<{ id: string }>('insert into users (name, email) values ($1, $2) returning id', [
    role,
    email,
  ]);
  const { id } = users[0]!;
  await db.admin.query('insert into organization_users (organization_id, user_id, role) values ($1, $2, $3)', [acme.id, id, role]);
  const secret = `secret of ${role}`;
  await db.admin.query(
    `insert into private.sessions (token_hash, user_id, organization_id, expires_at)
     values (private.hash_secret($1), $2, $3, now() + interval '1 day')`,
    [secret, id, acme.id],
  );
  return { id, email, session: asUser(db, secret) };
}

const nodes = [
  { id: 'start', type: 'apiTrigger' },
  { id: 'yes', type: 'set', properties: { assign: { went: 'yes' } } },
  { id: 'no', type: 'set', properties: { assign: { went: 'no' } } },
];
const edges = [
  { source: 'start', target: 'check' },
  { source: 'check', target: 'yes', sourceOutput: 'approved' },
  { source: 'check', target: 'no', sourceOutput: 'rejected' },
];

async function start(approval: Record<string, unknown> = {}, more: Record<string, unknown> = {}, input: unknown = {}) {
  const check = { id: 'check', type: 'wait', properties: { approval, ...more } };
  const definition = { nodes: [...nodes, check], connections: edges };
  return (await engine.start(acme, await publishWorkflow(acme, definition), input)).run_id;
}
const decide = async (
  who: { session: Session } | { user: Session },
  runId: string | null,
  approved = true,
  comment: string | null = null,
) => ('user' in who ? who.user : who.session).query('select status from approve_step($1, $2, $3, $4)', [runId, 'check', approved, comment]);

describe('an approval', () => {
  test('goes on at approved or at rejected, with the decision as its output', async () => {
    await engine.freeze(new Date('2026-11-21T12:00:00Z'));
    const approved = await start();
    const rejected = await start();
    expect((await engine.log(approved)).at(-1)).toMatchObject({ type: 'step.waiting', payload: { node: 'check', kind: 'approval' } });
    await decide(acme, approved, true, 'fine');
    await decide(acme, rejected, false);
    expect(await engine.output(approved)).toEqual({
      approved: true,
      by: acme.userId,
      comment: 'fine',
      at: '2026-11-21T12:00:00.000000Z',
      went: 'yes',
    });
    expect(await engine.output(rejected)).toMatchObject({ approved: false, comment: null, went: 'no' });
  });

  test('is given once: the second decision is told the first', async () => {
    const runId = await start();
    await decide(acme, runId, true, 'first');
    const before = await engine.log(runId);
    const second = decide(admin, runId, false, 'second');
    await expect(second).rejects.toMatchObject({ code: 'WF008' });
    const { detail } = (await second.catch((error: unknown) => error)) as { detail: string };
    expect(JSON.parse(detail)).toMatchObject({
      code: 'ALREADY_USED',
      first: { node: 'check', port: 'approved', output: { approved: true, by: acme.userId, comment: 'first' } },
    });
    expect(await engine.log(runId)).toEqual(before);
  });

  test('that a retry has taken over was given', async () => {
    const stop = { id: 'stop', type: 'stopAndError', properties: { message: 'no' } };
    const check = { id: 'check', type: 'wait', properties: { approval: {} } };
    const definition = { nodes: [nodes[0]!, check, stop], connections: [edges[0]!, { ...edges[1]!, target: 'stop' }] };
    const { run_id } = await engine.start(acme, await publishWorkflow(acme, definition));
    await decide(acme, run_id);
    const { rows } = await acme.user.query<{ id: string }>('select id from retry_run($1)', [run_id]);
    await expect(decide(acme, rows[0]!.id, false)).rejects.toMatchObject({ code: 'WF008' });
  });

  test('is given once when two decide at the same time', async () => {
    const runId = await start();
    const settled = await Promise.allSettled([decide(acme, runId, true), decide(admin, runId, false)]);
    expect(settled.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });
});

describe('who may approve', () => {
  test('admins and owners when nothing is said', async () => {
    const runId = await start();
    await expect(decide(member, runId)).rejects.toMatchObject({ code: 'WF005' });
    await decide(admin, runId);
  });

  test('a role and those above it', async () => {
    const owners = await start({ role: 'owner' });
    await expect(decide(admin, owners)).rejects.toMatchObject({ code: 'WF005' });
    await decide(acme, owners);
    await decide(member, await start({ role: 'member' }));
  });

  test('those named, by address or id, and with names alone nobody else', async () => {
    const byEmail = await start({ users: ['{{ $.prev.who }}'] }, {}, { who: 'Member@Example.com' });
    await expect(decide(acme, byEmail)).rejects.toMatchObject({ code: 'WF005' });
    await decide(member, byEmail);
    await decide(member, await start({ users: [member.id] }));
    await decide(admin, await start({ users: [member.id], role: 'admin' }));
  });

  test('nobody of another organization, and no token that belongs to no person', async () => {
    const runId = await start({ role: 'member' });
    const other = await createOrganization(db, 'Other');
    await expect(decide(other, runId)).rejects.toMatchObject({ code: 'WF002' });
    await db.admin.query(
      `insert into private.api_tokens (organization_id, name, prefix, token_hash, scopes)
       values ($1, 'machine', 'fg', private.hash_secret('machine'), '{runs:write}')`,
      [acme.id],
    );
    await expect(decide({ session: asUser(db, 'machine') }, runId)).rejects.toMatchObject({ code: 'WF005' });
    await decide(acme, runId);
  });
});

describe('an approval that nobody gives', () => {
  test('fails with WAIT_TIMEOUT, and is EXPIRED for who comes then', async () => {
    const runId = await start({}, { timeoutSeconds: 60 });
    await engine.freeze(new Date(Date.now() + 61_000));
    await expect(decide(acme, runId)).rejects.toMatchObject({ code: 'WF014' });
    await engine.begin(runId, 'check');
    expect(await engine.run(runId)).toMatchObject({ status: 'error', error: { code: 'WAIT_TIMEOUT' } });
    await expect(decide(acme, runId)).rejects.toMatchObject({ code: 'WF014' });
  });

  test('goes on at timeout when that leads somewhere', async () => {
    const definition = {
      nodes: [...nodes, { id: 'check', type: 'wait', properties: { approval: {}, timeoutSeconds: 60 } }, { id: 'late', type: 'noOp' }],
      connections: [...edges, { source: 'check', target: 'late', sourceOutput: 'timeout' }],
    };
    const { run_id } = await engine.start(acme, await publishWorkflow(acme, definition), { kept: 1 });
    await engine.freeze(new Date(Date.now() + 61_000));
    await engine.begin(run_id, 'check');
    expect(await engine.output(run_id)).toEqual({ kept: 1 });
  });
});

test('what is not reached yet, no approval, or of an ended run is refused', async () => {
  const call = { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' } };
  const check = { id: 'check', type: 'wait', properties: { approval: {} } };
  const { run_id } = await engine.start(acme, await publishWorkflow(acme, chain(nodes[0]!, call, check)));
  await expect(decide(acme, run_id)).rejects.toMatchObject({ code: 'WF003' });
  await expect(acme.user.query(`select approve_step($1, 'call')`, [run_id])).rejects.toMatchObject({ code: 'WF002' });
  await expect(acme.user.query(`select approve_step($1, 'nothing')`, [run_id])).rejects.toMatchObject({ code: 'WF002' });
  await acme.user.query('select cancel_run($1)', [run_id]);
  await expect(decide(acme, run_id)).rejects.toMatchObject({ code: 'WF007' });
});

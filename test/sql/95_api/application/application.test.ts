/** An application in the same database: its role starts and reads runs of one organization. */
import type pg from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import { codeOf, createApplication, grantApplication } from '../../../helpers/application.ts';
import { createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

const db = await createTestDatabase();
const driver = new Driver(db);
const { role: APP, pool: app } = await createApplication(db);
const { role: STRANGER, pool: stranger } = await createApplication(db, 'stranger');
let acme: TestOrganization;
let globex: TestOrganization;
let order: TestWorkflow;

const ORDER = chain(
  { id: 'api', type: 'apiTrigger' },
  { id: 'total', type: 'set', properties: { assign: { total: '{{ $.input.net }}' }, pick: ['total'] } },
);
const grant = (role: string, organization: { id: string }, scopes?: string) => grantApplication(db, role, organization, scopes);

beforeAll(async () => {
  acme = await createOrganization(db, 'Acme');
  globex = await createOrganization(db, 'Globex');
  order = await publishWorkflow(acme, ORDER, 'order-intake');
  await publishWorkflow(globex, ORDER, 'theirs');
  await grant(APP, acme);
});

const start = async (client: pg.Pool | pg.PoolClient, workflow: string, input: unknown = {}, key: string | null = null): Promise<string> =>
  (await client.query<{ id: string }>('select flowgres_start($1, $2, $3) as id', [workflow, JSON.stringify(input), key])).rows[0]!.id;
describe('flowgres_start', () => {
  test('starts in the transaction of the application: after its commit the pure nodes have finished, after a rollback nothing was', async () => {
    const client = await app.connect();
    await client.query('begin');
    const kept = await start(client, 'order-intake', { net: 100 });
    const inside = await client.query('select workflow, status, output from flowgres_run($1)', [kept]);
    expect(inside.rows).toEqual([{ workflow: 'order-intake', status: 'success', output: { total: 100 } }]);
    expect((await db.admin.query('select from workflow_runs where id = $1', [kept])).rowCount).toBe(0);
    await client.query('commit');
    await client.query('begin');
    const lost = await start(client, order.id, { net: 1 });
    await client.query('rollback');
    client.release();

    const { rows } = await db.admin.query('select id, status, mode, application, started_by from workflow_runs where id = any ($1)', [
      [kept, lost],
    ]);
    expect(rows).toEqual([{ id: kept, status: 'success', mode: 'api', application: APP, started_by: null }]);
  });

  test('returns the run of an idempotency key again, and refuses another input for it', async () => {
    const first = await start(app, 'order-intake', { net: 7 }, 'order-7');
    expect(await start(app, 'order-intake', { net: 7 }, 'order-7')).toBe(first);
    expect(await codeOf(start(app, 'order-intake', { net: 8 }, 'order-7'))).toBe('CONFLICT');
  });

  test('opens no session and leaves no setting on the connection', async () => {
    const client = await app.connect();
    const settings = async () =>
      (await client.query(`select name, setting from pg_settings where source = 'session' or name like 'flowgres.%' order by name`)).rows;
    const sessions = async () => (await db.admin.query('select count(*)::int as n from private.sessions')).rows[0];
    const before = [await settings(), await sessions()];
    await start(client, 'order-intake');
    await client.query('select * from flowgres_runs');
    expect([await settings(), await sessions()]).toEqual(before);
    expect((await client.query(`select current_setting('flowgres.session', true) as s`)).rows[0]).toEqual({ s: null });
    client.release();
  });

  test('says which workflow it does not find, and asks for the id when a name is not unique', async () => {
    await publishWorkflow(acme, ORDER, 'twice');
    const { id } = await publishWorkflow(acme, ORDER, 'twice');
    expect(await codeOf(start(app, 'twice'))).toBe('CONFLICT');
    expect(await codeOf(start(app, id))).toBe('ok');
    expect(await codeOf(start(app, 'Order-intake'))).toBe('NOT_FOUND');
  });
});

describe('an application reaches its organization and its scopes only', () => {
  test('not the workflows and runs of another one, not even by id', async () => {
    const { rows: foreign } = await globex.user.query<{ id: string }>(
      `select r.id from workflows as w, start_workflow_run(w.id) as r where w.name = 'theirs'`,
    );
    const { rows: workflows } = await globex.user.query<{ id: string }>('select id from workflows');
    expect(await codeOf(start(app, 'theirs'))).toBe('NOT_FOUND');
    expect(await codeOf(start(app, workflows[0]!.id))).toBe('NOT_FOUND');
    expect(await codeOf(app.query('select * from flowgres_run($1)', [foreign[0]!.id]))).toBe('NOT_FOUND');
    expect(await codeOf(app.query('call flowgres_wait($1)', [foreign[0]!.id]))).toBe('NOT_FOUND');
    expect(await codeOf(app.query('select flowgres_caused_by($1)', [foreign[0]!.id]))).toBe('NOT_FOUND');
  });

  test('not the tables of runs, people, events or the queue', async () => {
    for (const table of ['users', 'workflow_events', 'credentials', 'engine.open_steps', 'engine.application_grants', 'private.sessions']) {
      expect(await codeOf(app.query(`select * from ${table}`)), table).toBe('42501');
    }
    expect(await codeOf(app.query('select deadline_at from workflow_runs'))).toBe('42501');
    expect(await codeOf(app.query(`select * from engine.start_runs('[]')`))).toBe('42501');
    expect(await codeOf(app.query('select engine.grant_application($1, $2)', [APP, globex.id]))).toBe('42501');
  });

  test('sees the runs that it has started itself, not those of the API', async () => {
    const own = await start(app, 'order-intake', { net: 3 });
    const { rows: others } = await acme.user.query<{ id: string }>('select id from start_workflow_run($1)', [order.id]);
    const { rows } = await app.query<{ id: string }>('select id, workflow, status from flowgres_runs');
    expect(rows).toContainEqual({ id: own, workflow: 'order-intake', status: 'success' });
    expect(rows.map(({ id }) => id)).not.toContain(others[0]!.id);
    expect((await app.query('select id from workflow_runs where id = $1', [others[0]!.id])).rowCount).toBe(0);
  });

  test('a role without a grant, with fewer scopes, after its revocation, or of a deleted organization is refused', async () => {
    expect(await codeOf(start(stranger, 'order-intake'))).toBe('42501');
    await grant(STRANGER, globex, '{runs:read}');
    expect(await codeOf(start(stranger, 'theirs'))).toBe('FORBIDDEN');
    expect((await stranger.query('select * from flowgres_runs')).rows).toEqual([]);
    await grant(STRANGER, globex);
    expect(await codeOf(start(stranger, 'theirs'))).toBe('ok');
    await db.admin.query('select engine.revoke_application($1::regrole)', [STRANGER]);
    expect(await codeOf(start(stranger, 'theirs'))).toBe('UNAUTHENTICATED');
    expect((await stranger.query('select * from flowgres_runs')).rows).toEqual([]);

    const gone = await createOrganization(db, 'Gone');
    await publishWorkflow(gone, ORDER, 'gone');
    await grant(STRANGER, gone);
    expect(await codeOf(start(stranger, 'gone'))).toBe('ok');
    await db.admin.query('update organizations set deleted_at = now() where id = $1', [gone.id]);
    expect(await codeOf(start(stranger, 'gone'))).toBe('UNAUTHENTICATED');
  });

  test('the role of SET ROLE counts, and only a member may set it', async () => {
    const client = await app.connect();
    expect(await codeOf(client.query(`set role ${STRANGER}`))).toBe('42501');
    expect(await codeOf(client.query(`select set_config('role', $1, false)`, [STRANGER]))).toBe('42501');
    client.release();
    const admin = await db.admin.connect();
    expect(await codeOf(start(admin, 'order-intake'))).toBe('UNAUTHENTICATED');
    await admin.query(`set role ${APP}`);
    expect(await codeOf(start(admin, 'order-intake'))).toBe('ok');
    admin.release(true);
  });

  test('a superuser, a role of Flowgres, other scopes and an unknown organization cannot be granted', async () => {
    expect(await codeOf(grant('flowgres_api', acme))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(grant('postgres', acme))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(grant(APP, acme, '{organization:write}'))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(grant(APP, acme, '{}'))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(grant(APP, { ...acme, id: '01900000-0000-7000-8000-000000000000' }))).toBe('NOT_FOUND');
  });
});

describe('flowgres_wait', () => {
  test('returns when the run ends, with its output', async () => {
    const effect = await publishWorkflow(
      acme,
      chain({ id: 'api', type: 'apiTrigger' }, { id: 'call', type: 'httpRequest', properties: { url: 'http://127.0.0.1:9' } }),
      'slow',
    );
    const run = await start(app, effect.id);
    const waiting = app.query(`call flowgres_wait($1, '20 seconds')`, [run]);
    await driver.finish(run, 'call', { done: true });
    expect((await waiting).rows).toEqual([{ status: 'success', output: { done: true }, error: null }]);
  });

  test('returns the status of an unfinished run after the timeout, and refuses to wait within a transaction', async () => {
    const run = await start(app, 'slow');
    expect((await app.query(`call flowgres_wait($1, '0')`, [run])).rows).toEqual([{ status: 'running', output: null, error: null }]);
    const client = await app.connect();
    await client.query('begin');
    expect(await codeOf(client.query('call flowgres_wait($1)', [run]))).toBe('2D000');
    await client.query('rollback');
    client.release();
  });
});

/** Resume addresses: used once, early, late, and by which methods. */
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
});
beforeEach(() => engine.freeze(null));

const trigger = { id: 'start', type: 'apiTrigger' };
const tell = { id: 'tell', type: 'httpRequest', properties: { url: 'https://example.com', body: { url: '{{ $.run.resume.answer }}' } } };
const answer = (more: Record<string, unknown> = {}, webhook: unknown = {}) => ({
  id: 'answer',
  type: 'wait',
  properties: { webhook, ...more },
});

/** A run that has told somebody its address: the token in it, and the attempt that told. */
async function start(wait = answer()) {
  const { run_id } = await engine.start(acme, await publishWorkflow(acme, chain(trigger, tell, wait)));
  const task = (await engine.begin(run_id, 'tell'))!;
  const [, token] = /^\/resume\/([\w-]{54})$/.exec(String((task.properties['body'] as { url: string }).url))!;
  return { runId: run_id!, task, token: token! };
}
const request = (body: unknown = null, method = 'POST') => ({ method, query: {}, headers: {}, body });
const resume = async (token: string, what: unknown = request()) =>
  (await db.pool('flowgres_intake').query('select engine.resume_by_token($1, $2) as run', [token, JSON.stringify(what)])).rows[0].run;

describe('a resume address', () => {
  test('lets the run go on with the request as the output', async () => {
    const { runId, task, token } = await start();
    await engine.complete(task, 'told');
    expect((await engine.run(runId)).status).toBe('waiting');
    expect(await resume(token, request({ paid: true }))).toBe(runId);
    expect(await engine.output(runId)).toEqual({ method: 'POST', query: {}, headers: {}, body: { paid: true } });
  });

  test('may be called before the run waits: the answer is kept', async () => {
    const { runId, task, token } = await start();
    await resume(token, request('early'));
    expect((await engine.run(runId)).status).toBe('running');
    expect(await engine.complete(task, 'told')).toMatchObject({ status: 'success' });
    expect(await engine.output(runId)).toMatchObject({ body: 'early' });
  });

  test('works once: the second call is told when the first one was', async () => {
    await engine.freeze(new Date('2026-11-21T12:00:00Z'));
    const { runId, task, token } = await start();
    await engine.complete(task, 'told');
    await resume(token);
    const again = resume(token);
    await expect(again).rejects.toMatchObject({ code: 'WF008' });
    const { detail } = (await again.catch((error: unknown) => error)) as { detail: string };
    expect(JSON.parse(detail)).toMatchObject({ code: 'ALREADY_USED', first: { at: expect.stringContaining('2026-11-21T12:00:00') } });
    expect((await engine.log(runId)).filter(({ type }) => type === 'run.signaled')).toHaveLength(1);
  });

  test('works once when two call at the same time', async () => {
    const { runId, task, token } = await start();
    await engine.complete(task, 'told');
    const settled = await Promise.allSettled([resume(token), resume(token), resume(token)]);
    expect(settled.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect((await engine.run(runId)).status).toBe('success');
  });

  test('expires: after a week when nothing else is said, or after timeoutSeconds', async () => {
    await engine.freeze(new Date('2026-11-21T12:00:00Z'));
    const week = await start();
    const minute = await start(answer({ timeoutSeconds: 60 }));
    for (const { task } of [week, minute]) await engine.complete(task, 'told');
    await engine.freeze(new Date('2026-11-21T12:01:01Z'));
    await expect(resume(minute.token)).rejects.toMatchObject({ code: 'WF014' });
    await engine.begin(minute.runId, 'answer');
    await expect(resume(minute.token)).rejects.toMatchObject({ code: 'WF014' });
    await engine.freeze(new Date('2026-11-28T11:59:59Z'));
    await resume(week.token);
    expect((await engine.run(week.runId)).status).toBe('success');
    expect(await engine.run(minute.runId)).toMatchObject({ status: 'error', error: { code: 'WAIT_TIMEOUT' } });
  });

  test('expires with its run', async () => {
    const { runId, token } = await start();
    await acme.user.query('select cancel_run($1)', [runId]);
    await expect(resume(token)).rejects.toMatchObject({ code: 'WF014' });
  });

  test('takes the methods that the node names, POST when it names none', async () => {
    const { runId, task, token } = await start(answer({}, { method: ['GET', 'POST'] }));
    await engine.complete(task, 'told');
    await expect(resume(token, request(null, 'PUT'))).rejects.toMatchObject({ code: 'WF009' });
    await resume(token, request(null, 'GET'));
    expect(await engine.output(runId)).toMatchObject({ method: 'GET' });
  });

  test('cannot be guessed: another node, another run and a changed token are unknown', async () => {
    const { runId, token } = await start();
    const changed = (token.startsWith('A') ? 'B' : 'A') + token.slice(1);
    const tail = token.slice(0, -2) + (token.endsWith('AA') ? 'BA' : 'AA');
    for (const wrong of [changed, tail, 'x', '', `${token}A`]) await expect(resume(wrong)).rejects.toMatchObject({ code: 'WF002' });
    await acme.user.query('select cancel_run($1)', [runId]);
  });

  test('is nowhere in the database but in what the run was told to send', async () => {
    const { runId, token } = await start();
    const { rows } = await db.admin.query(`select type from workflow_events where run_id = $1 and payload::text like '%' || $2 || '%'`, [
      runId,
      token,
    ]);
    expect(rows).toEqual([{ type: 'step.started' }]);
    expect(JSON.stringify(await engine.openSteps(runId))).not.toContain(token);
    await acme.user.query('select cancel_run($1)', [runId]);
  });
});

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import { createTestDatabase } from '../helpers/database.ts';
import { createOrganization, publishWorkflow } from '../helpers/factory.ts';

test('of two workers each tick starts one run, also when one is killed', async () => {
  const db = await createTestDatabase();
  const workers = [1, 2].map(() => fork(new URL('process.ts', import.meta.url), [db.url('flowgres_worker')]));
  for (const worker of workers) onTestFinished(() => void worker.kill('SIGKILL'));
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  const organization = await createOrganization(db);
  const { id } = await publishWorkflow(organization, {
    nodes: [{ id: 'clock', type: 'scheduleTrigger', properties: { cron: '1 second' } }],
    connections: [],
  });
  const ticks = async () => {
    const { rows } = await db.admin.query<{ at: string }>(
      `select payload -> 'input' ->> 'scheduledAt' as at from workflow_events where type = 'run.created' order by at`,
    );
    return rows.map(({ at }) => Date.parse(at));
  };
  await expect.poll(async () => (await ticks()).length).toBeGreaterThan(2);
  workers[0]!.kill('SIGKILL');
  const before = (await ticks()).length;
  await expect.poll(async () => (await ticks()).length).toBeGreaterThan(before + 2);
  await organization.user.query('select unpublish_workflow(id => $1)', [id]);

  const all = await ticks();
  expect(all.slice(1).map((at, index) => at - all[index]!)).toEqual(all.slice(1).map(() => 1_000));
}, 40_000);

import { expect, test } from 'vitest';
import { createTestDatabase } from '../helpers/database.ts';
import { createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { serveGraphql } from '../helpers/graphql.ts';

const db = await createTestDatabase();
const server = await serveGraphql(db);

test('the next run of a workflow is there, for its organization only', async () => {
  const [acme, other] = [await createOrganization(db), await createOrganization(db, 'Other')];
  const properties = { cron: '0 9 * * *', timezone: 'Europe/Berlin' };
  await publishWorkflow(acme, { nodes: [{ id: 'clock', type: 'scheduleTrigger', properties }], connections: [] });
  const query = '{ schedules { nodes { node nextRunAt firesAt lastRunAt workflow { name } } } }';
  const { schedules } = await server.data(acme.token, query, {});
  expect(schedules.nodes).toEqual([
    { node: 'clock', nextRunAt: expect.any(String), firesAt: expect.any(String), lastRunAt: null, workflow: { name: 'Test' } },
  ]);
  expect((await server.data(other.token, query, {})).schedules.nodes).toEqual([]);

  const { previewSchedule } = await server.data(
    acme.token,
    'query ($cron: String!) { previewSchedule(cron: $cron, timezone: "Europe/Berlin", count: 1) { nodes } }',
    {
      cron: '0 9 * * *',
    },
  );
  expect(new Date(previewSchedule.nodes[0])).toEqual(new Date(schedules.nodes[0].nextRunAt));
});

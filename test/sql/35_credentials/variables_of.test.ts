/** What a run gets of the variables of its organization. */
import { expect, test } from 'vitest';
import { createTestDatabase } from '../../helpers/database.ts';
import { Driver } from '../../helpers/driver.ts';
import { chain, createOrganization, publishWorkflow } from '../../helpers/factory.ts';

const db = await createTestDatabase();
const [acme, globex, engine] = [await createOrganization(db), await createOrganization(db, 'Globex'), new Driver(db)];
const set = (name: string, value: unknown, organization = acme) =>
  organization.user.query('select from set_variable($1, $2)', [name, JSON.stringify(value)]);

test('a run keeps the variables that its expressions name, with the values at its start', async () => {
  await set('rate', 0.19);
  await set('unused', 1);
  const workflow = await publishWorkflow(
    acme,
    chain(
      { id: 'start', type: 'apiTrigger' },
      { id: 'note', type: 'log', properties: { message: 'wait' } },
      { id: 'end', type: 'transform', properties: { template: { rate: '{{ $.vars.rate }}', none: '{{ $.vars.missing }}' } } },
    ),
  );
  const { run_id } = await engine.start(acme, workflow);
  await set('rate', 0.07);
  await engine.finish(run_id, 'note', {});
  expect(await engine.output(run_id)).toEqual({ rate: 0.19, none: null });
  expect((await engine.log(run_id))[0]!.payload['vars']).toEqual({ rate: 0.19 });
  // A retry and a fork are runs of their own: what they do again, they do with the values of now.
  const { rows } = await acme.user.query<{ id: string }>('select id from fork_run($1, from_node => $2)', [run_id, 'end']);
  expect(await engine.output(rows[0]!.id)).toEqual({ rate: 0.07, none: null });
  const other = await engine.start(acme, workflow);
  expect((await engine.log(other.run_id))[0]!.payload['vars']).toEqual({ rate: 0.07 });
});

test('a run gets no variable of another organization', async () => {
  await set('theirs', 1, globex);
  const workflow = await publishWorkflow(
    acme,
    chain({ id: 'start', type: 'apiTrigger' }, { id: 'end', type: 'transform', properties: { template: '{{ $.vars.theirs }}' } }),
  );
  expect((await engine.start(acme, workflow)).output).toBeNull();
});

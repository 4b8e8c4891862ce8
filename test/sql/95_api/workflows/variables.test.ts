import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let globex: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  [acme, globex, engine] = [await createOrganization(db), await createOrganization(db, 'Globex'), new Driver(db)];
});

const set = (name: string | null, value: unknown, organization = acme) =>
  organization.user.query('select name, value from set_variable($1, $2)', [name, JSON.stringify(value)]);

describe('a variable', () => {
  test('is set, replaced and deleted by its name', async () => {
    expect((await set('colour', 'red')).rows).toEqual([{ name: 'colour', value: 'red' }]);
    await set('colour', { of: ['sky', null] });
    expect((await acme.user.query('select name, value, updated_by from variables')).rows).toEqual([
      { name: 'colour', value: { of: ['sky', null] }, updated_by: acme.userId },
    ]);
    expect((await acme.user.query(`select name from delete_variable('colour')`)).rows).toEqual([{ name: 'colour' }]);
    await expect(acme.user.query(`select delete_variable('colour')`)).rejects.toMatchObject({ code: 'WF002' });
  });

  test('of another organization is not seen, nor deleted', async () => {
    await set('theirs', 1, globex);
    expect((await acme.user.query(`select from variables where name = 'theirs'`)).rowCount).toBe(0);
    await expect(acme.user.query(`select delete_variable('theirs')`)).rejects.toMatchObject({ code: 'WF002' });
  });

  test.each([
    ['no name', null, 1, 'WF001'],
    ['a name that is no word', 'a-b', 1, 'WF001'],
    ['more than 64 KiB', 'large', 'x'.repeat(65_536), 'WF010'],
  ])('is refused with %s', async (_case, name, value, code) => {
    await expect(set(name, value)).rejects.toMatchObject({ code });
  });
});

describe('a run', () => {
  test('keeps the variables that its expressions name, with the values at its start', async () => {
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
});

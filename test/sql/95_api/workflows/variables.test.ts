/** Variables: set, replaced, deleted, and seen by one organization. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let globex: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  [acme, globex] = [await createOrganization(db), await createOrganization(db, 'Globex')];
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

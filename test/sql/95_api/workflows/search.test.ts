/** search_workflows(): words, tags, archived ones, order. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { explainNested } from '../../../helpers/explain.ts';
import { type TestOrganization, createOrganization } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let globex: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  [acme, globex] = [await createOrganization(db), await createOrganization(db, 'Globex')];
  for (const organization of [acme, globex]) {
    await organization.user.query(
      `select create_workflow(t.name, '{}', t.description, t.tags) from (values
        ('Invoices', 'Pays 100% of them', '{finance,daily}'::text[]),
        ('Late invoices', null, '{finance}'),
        ('Greetings', 'Says hello_world', '{people}')) as t (name, description, tags)`,
    );
  }
});

const search = async (query: string | null, tags: string[] | null = null, archived = false): Promise<string[]> =>
  (await acme.user.query<{ name: string }>('select name from search_workflows($1, $2, $3)', [query, tags, archived])).rows.map(
    ({ name }) => name,
  );

describe('search_workflows', () => {
  test('finds by words in any case, by all of several tags, and both', async () => {
    expect(await search('INVOICE')).toEqual(['Late invoices', 'Invoices']);
    expect(await search(null, ['finance'])).toEqual(['Late invoices', 'Invoices']);
    expect(await search(null, ['finance', 'daily'])).toEqual(['Invoices']);
    expect(await search('late', ['finance'])).toEqual(['Late invoices']);
    expect(await search(null)).toHaveLength(3);
    expect(await search('')).toHaveLength(3);
  });

  test('takes signs of a pattern as they are', async () => {
    expect(await search('100%')).toEqual(['Invoices']);
    expect(await search('hello_w')).toEqual(['Greetings']);
    expect(await search('hello%w')).toEqual([]);
    expect(await search('\\')).toEqual([]);
  });

  test('shows archived ones when asked', async () => {
    const { rows } = await globex.user.query<{ id: string }>(`select id from search_workflows('Greetings')`);
    await globex.user.query('select archive_workflow($1)', [rows[0]!.id]);
    const names = await globex.user.query('select name from search_workflows(archived => true)');
    expect(names.rows).toEqual([{ name: 'Greetings' }]);
    expect((await globex.user.query('select from search_workflows()')).rowCount).toBe(2);
  });

  test('refuses what cannot be searched for', async () => {
    await expect(search('x'.repeat(201))).rejects.toMatchObject({ code: 'WF009' });
    await expect(search(null, ['x'.repeat(51)])).rejects.toMatchObject({ code: 'WF001' });
  });
});

test('tags are kept once, in order and trimmed, and have limits', async () => {
  const { rows } = await acme.user.query(`select id, tags from create_workflow('T', '{}', null, '{ b ,a,b}')`);
  expect(rows[0]!['tags']).toEqual(['a', 'b']);
  const save = (tags: unknown) =>
    acme.user.query(`select tags, revision from save_workflow($1, '{}', $2, tags => $3)`, [rows[0]!['id'], 1, tags]);
  await expect(save(Array.from({ length: 21 }, (_, index) => `t${index}`))).rejects.toMatchObject({ code: 'WF001' });
  await expect(save([''])).rejects.toMatchObject({ code: 'WF001' });
  await expect(save([null])).rejects.toMatchObject({ code: 'WF001' });
  expect((await save(['z'])).rows).toEqual([{ tags: ['z'], revision: 2 }]);
});

test('a search by tags reads the index, and no row of another organization', async () => {
  await db.admin.query(
    `insert into workflows (organization_id, name, definition, tags)
     select o, 'w' || n, '{}', array['common', 't' || n % 500] from unnest($1::uuid[]) as o, generate_series(1, 5000) as n`,
    [[acme.id, globex.id]],
  );
  await db.admin.query('vacuum analyze workflows');
  const plan = await explainNested(db, acme.token, `select count(*) from search_workflows(null, '{common,t7}')`);
  expect(plan.rows).toEqual([{ count: 10 }]);
  expect(plan.text).toContain('workflows_tags_idx');
  expect(plan.text).not.toContain('Seq Scan');
});

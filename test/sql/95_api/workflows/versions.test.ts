/** Versions: rollback, and differences between two of them. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type Definition, type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let globex: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  [acme, globex, engine] = [await createOrganization(db), await createOrganization(db, 'Globex'), new Driver(db)];
});

const answer = (value: number, path = '/answer'): Definition =>
  chain(
    { id: 'hook', type: 'webhookTrigger', properties: { path } },
    { id: 'answer', type: 'transform', properties: { template: { value } } },
  );

/** A workflow with versions that answer 1, 2, … */
async function versions(count: number, path?: string): Promise<string> {
  const { id } = await publishWorkflow(acme, answer(1, path));
  for (let version = 2; version <= count; version += 1) {
    await acme.user.query('select save_workflow($1, $2, $3)', [id, JSON.stringify(answer(version, path)), version - 1]);
    await acme.user.query('select publish_workflow($1)', [id]);
  }
  return id;
}

const rollback = (id: string, version: number, organization = acme) =>
  organization.user.query<{ version: number }>('select version from rollback_workflow($1, $2)', [id, version]);

describe('rollback_workflow', () => {
  test('makes an older version the one that new runs and webhooks use', async () => {
    const id = await versions(3);
    expect((await rollback(id, 1)).rows).toEqual([{ version: 1 }]);
    expect(await engine.start(acme, { id })).toMatchObject({ output: { value: 1 } });
    const { rows } = await acme.user.query('select distinct version from webhooks where workflow_id = $1', [id]);
    expect(rows).toEqual([{ version: 1 }]);
    await rollback(id, 1);
    const { rows: next } = await acme.user.query('select version from publish_workflow($1)', [id]);
    expect(next).toEqual([{ version: 4 }]);
  });

  test('publishes again what was unpublished', async () => {
    const id = await versions(2, '/again');
    await acme.user.query('select unpublish_workflow($1)', [id]);
    await rollback(id, 2);
    expect(await engine.start(acme, { id })).toMatchObject({ output: { value: 2 } });
  });

  test('refuses a version that there is not, an archived workflow, and one of others', async () => {
    const id = await versions(1, '/refused');
    await expect(rollback(id, 2)).rejects.toMatchObject({ code: 'WF002' });
    await expect(rollback(id, 1, globex)).rejects.toMatchObject({ code: 'WF002' });
    await acme.user.query('select archive_workflow($1)', [id]);
    await expect(rollback(id, 1)).rejects.toMatchObject({ code: 'WF003' });
  });
});

interface Difference extends Record<string, unknown> {
  pointer: string;
  kind: string;
  before: unknown;
  after: unknown;
}
const differences = async (id: string, from: number, to: number | null = null): Promise<Difference[]> =>
  (await acme.user.query<Difference>('select * from workflow_version_diff($1, $2, $3)', [id, from, to])).rows;

describe('workflow_version_diff', () => {
  test('names nodes by their id and connections by what they connect', async () => {
    const id = await versions(2, '/diff');
    expect(await differences(id, 1, 2)).toEqual([
      { pointer: '/nodes/answer/properties/template/value', kind: 'changed', before: 1, after: 2 },
    ]);
    const { nodes } = answer(2, '/diff');
    const later = {
      nodes: [{ id: 'a/b~c', type: 'noOp' }, ...nodes],
      connections: [{ source: 'hook', target: 'a/b~c' }],
      settings: { priority: 1 },
    };
    await acme.user.query('select save_workflow($1, $2, 2)', [id, JSON.stringify(later)]);
    expect(await differences(id, 2)).toEqual([
      { pointer: '/connections/hook.main -> answer.main', kind: 'removed', before: { source: 'hook', target: 'answer' }, after: null },
      { pointer: '/connections/hook.main -> a~1b~0c.main', kind: 'added', before: null, after: { source: 'hook', target: 'a/b~c' } },
      { pointer: '/nodes/a~1b~0c', kind: 'added', before: null, after: { type: 'noOp' } },
      { pointer: '/settings', kind: 'added', before: null, after: { priority: 1 } },
    ]);
    expect(await differences(id, 1, 1)).toEqual([]);
  });

  test('compares lists place by place, and tells null from nothing', async () => {
    const id = await versions(1, '/lists');
    const change = async (template: unknown, revision: number) => {
      const definition = chain(
        { id: 'hook', type: 'webhookTrigger', properties: { path: '/lists' } },
        { id: 'answer', type: 'transform', properties: { template } },
      );
      await acme.user.query('select save_workflow($1, $2, $3)', [id, JSON.stringify(definition), revision]);
      await acme.user.query('select publish_workflow($1)', [id]);
    };
    await change({ list: [1, 2, { a: 1 }], gone: null }, 1);
    await change({ list: [1, 3, { a: 2 }, 4] }, 2);
    const place = '/nodes/answer/properties/template';
    expect(await differences(id, 2, 3)).toEqual([
      { pointer: `${place}/gone`, kind: 'removed', before: null, after: null },
      { pointer: `${place}/list/1`, kind: 'changed', before: 2, after: 3 },
      { pointer: `${place}/list/2/a`, kind: 'changed', before: 1, after: 2 },
      { pointer: `${place}/list/3`, kind: 'added', before: null, after: 4 },
    ]);
  });

  test('refuses what there is not', async () => {
    const id = await versions(1, '/none');
    await expect(differences(id, 1, 9)).rejects.toMatchObject({ code: 'WF002' });
    await expect(differences(id, 9)).rejects.toMatchObject({ code: 'WF002' });
    await expect(globex.user.query('select workflow_version_diff($1, 1)', [id])).rejects.toMatchObject({ code: 'WF002' });
  });
});

/** plan_workflows() and apply_workflows(): workflows and variables as documents say, in one transaction. */
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type TestDatabase, asAnonymous, asUser, createTestDatabase } from '../../../helpers/database.ts';
import { type Definition, type TestOrganization, chain, createOrganization } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
});
beforeEach(async () => {
  acme = await createOrganization(db);
});

interface Document {
  name: string;
  description?: string;
  tags?: string[];
  definition: Definition;
}
interface Options {
  variables?: Record<string, unknown>;
  project?: string;
  prune?: boolean;
  message?: string;
}
interface Change extends Record<string, unknown> {
  kind: string;
  name: string;
  action: string;
  fields: string[];
  version: number | null;
}

const start = { id: 'start', type: 'apiTrigger' };
const document = (name: string, more: Partial<Document> = {}): Document => ({ name, definition: chain(start), ...more });
const doubles = chain(start, { id: 'double', type: 'transform', properties: { path: '$.prev.n * 2' } });
const hook = (path: string) => chain({ id: 'hook', type: 'webhookTrigger', properties: { path, authentication: 'none' } });

const values = (documents: Document[], { variables = {}, project = 'default', prune = false }: Options) => [
  JSON.stringify(documents),
  JSON.stringify(variables),
  project,
  prune,
];
const apply = async (documents: Document[], options: Options = {}): Promise<Change[]> =>
  (
    await acme.user.query<Change>('select * from apply_workflows($1, $2, $3, $4, $5)', [
      ...values(documents, options),
      options.message ?? null,
    ])
  ).rows;
const plan = async (documents: Document[], options: Options = {}): Promise<Change[]> =>
  (await acme.user.query<Change>('select * from plan_workflows($1, $2, $3, $4)', values(documents, options))).rows;
const short = (changes: Change[]) => changes.map(({ action, name, fields }) => [action, name, ...fields]);
const stored = async () =>
  (
    await acme.user.query(
      'select name, description, tags, published_version, archived_at is not null as archived from workflows order by name',
    )
  ).rows;

describe('applying documents', () => {
  test('creates and publishes what is missing, and changes nothing the second time', async () => {
    const documents = [document('Orders', { description: 'Takes orders in', tags: ['b', 'a'] }), document('Prices')];
    const options = { variables: { rate: 0.19 }, message: 'First' };
    expect(short(await plan(documents, options))).toEqual([
      ['create', 'rate'],
      ['create', 'Orders'],
      ['create', 'Prices'],
    ]);
    expect(await stored()).toEqual([]);

    const applied = await apply(documents, options);
    expect(applied.map(({ name, version }) => [name, version])).toEqual([
      ['rate', null],
      ['Orders', 1],
      ['Prices', 1],
    ]);
    expect(await stored()).toMatchObject([
      { name: 'Orders', description: 'Takes orders in', tags: ['a', 'b'], published_version: 1 },
      { name: 'Prices', description: null, tags: [], published_version: 1 },
    ]);
    const { rows: versions } = await acme.user.query('select distinct message from workflow_versions');
    expect(versions).toEqual([{ message: 'First' }]);

    const unchanged = [
      ['unchanged', 'rate'],
      ['unchanged', 'Orders'],
      ['unchanged', 'Prices'],
    ];
    expect(short(await plan(documents, options))).toEqual(unchanged);
    expect(short(await apply(documents, options))).toEqual(unchanged);
    expect(await stored()).toMatchObject([{ published_version: 1 }, { published_version: 1 }]);
  });

  test('changes what differs, says what that is, and publishes only another definition', async () => {
    await apply([document('Orders', { description: 'Old' })], { variables: { rate: 1 } });
    const described = [document('Orders', { tags: ['sales'] })];
    expect(short(await apply(described, { variables: { rate: 2 } }))).toEqual([
      ['change', 'rate', 'value'],
      ['change', 'Orders', 'description', 'tags'],
    ]);
    expect(await stored()).toMatchObject([{ description: null, tags: ['sales'], published_version: 1 }]);
    const doubled = [document('Orders', { tags: ['sales'], definition: doubles })];
    expect(short(await plan(doubled))).toEqual([['change', 'Orders', 'definition', 'publication']]);
    expect(await apply(doubled)).toMatchObject([{ version: 2 }]);
    const { rows } = await acme.user.query('select name, value from variables');
    expect(rows).toEqual([{ name: 'rate', value: 2 }]);
  });

  test('publishes a draft that is as the document says, and was never published', async () => {
    await acme.user.query('select create_workflow($1, $2)', ['Orders', JSON.stringify(chain(start))]);
    expect(short(await apply([document('Orders')]))).toEqual([['change', 'Orders', 'publication', 'project']]);
    expect(await stored()).toMatchObject([{ published_version: 1 }]);
  });

  test('archives only workflows of the project, and only when asked to', async () => {
    await acme.user.query('select create_workflow($1, $2)', ['By hand', JSON.stringify(chain(start))]);
    await apply([document('Other')], { project: 'other' });
    await apply([document('Orders'), document('Prices')]);
    expect(short(await apply([document('Prices')]))).toEqual([['unchanged', 'Prices']]);
    expect(short(await plan([document('Prices')], { prune: true }))).toEqual([
      ['archive', 'Orders'],
      ['unchanged', 'Prices'],
    ]);
    await apply([document('Prices')], { prune: true });
    expect(await stored()).toMatchObject([
      { name: 'By hand', archived: false },
      { name: 'Orders', archived: true, published_version: null },
      { name: 'Other', archived: false },
      { name: 'Prices', archived: false },
    ]);
  });

  test('a renamed workflow takes over the webhook path of the archived one', async () => {
    await apply([document('Old', { definition: hook('/in') })]);
    await apply([document('New', { definition: hook('/in') })], { prune: true });
    const { rows } = await acme.user.query(
      'select w.name from webhooks as h join workflows as w on w.id = h.workflow_id and w.organization_id = h.organization_id',
    );
    expect(rows).toEqual([{ name: 'New' }]);
  });
});

describe('applying is all or nothing', () => {
  test('every problem of every document is reported with its workflow, and nothing is stored', async () => {
    const broken = (id: string) => ({ nodes: [{ id, type: 'nothing' }], connections: [] });
    const documents = [document('Good'), document('Bad', { definition: broken('a') }), document('Worse', { definition: broken('b') })];
    for (const command of [plan, apply]) {
      const error = await command(documents, { variables: { rate: 1 } }).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: 'WF001', message: expect.stringMatching(/^Bad: \/nodes/) });
      const { problems } = JSON.parse((error as { detail: string }).detail);
      expect(new Set(problems.map(({ workflow }: { workflow: string }) => workflow))).toEqual(new Set(['Bad', 'Worse']));
      expect(problems).toContainEqual(expect.objectContaining({ workflow: 'Worse', pointer: '/nodes/0/type', code: 'UNKNOWN_TYPE' }));
    }
    expect(await stored()).toEqual([]);
    expect((await acme.user.query('select from variables')).rows).toEqual([]);
  });

  test('a conflict of one workflow names it and takes back the others', async () => {
    await apply([document('Taken', { definition: hook('/in') })], { project: 'other' });
    await expect(apply([document('A first one'), document('Second', { definition: hook('/in') })])).rejects.toMatchObject({
      code: 'WF003',
      message: expect.stringMatching(/^Second: /),
      detail: expect.stringContaining('"workflow": "Second"'),
    });
    expect((await stored()).map(({ name }) => name)).toEqual(['Taken']);
  });

  test.each([
    ['two documents of one name', [document('Orders'), document('Orders')], {}, 'WF001'],
    ['a document without a definition', [{ name: 'Orders' } as Document], {}, 'WF001'],
    ['a document with more than it may have', [{ ...document('Orders'), version: 3 } as Document], {}, 'WF001'],
    ['documents that are no list', {} as Document[], {}, 'WF001'],
    ['a name with a line break', [document('Or\nders')], {}, 'WF001'],
    ['a variable that no expression can name', [], { variables: { 'a b': 1 } }, 'WF001'],
    ['variables that are a list', [], { variables: [] as unknown as Record<string, unknown> }, 'WF001'],
    ['a project without a name', [], { project: '' }, 'WF001'],
    ['more than 500 documents', Array.from({ length: 501 }, (_, at) => document(`W${at}`)), {}, 'WF001'],
  ])('%s: refused', async (_, documents, options: Options, code) => {
    await expect(apply(documents, options)).rejects.toMatchObject({ code });
    expect(await stored()).toEqual([]);
  });

  test('a name that two workflows have, or that another project has, is a conflict', async () => {
    await apply([document('Theirs')], { project: 'other' });
    await expect(apply([document('Theirs')])).rejects.toMatchObject({ code: 'WF003', message: expect.stringContaining("project 'other'") });
    for (let times = 0; times < 2; times += 1) {
      await acme.user.query('select create_workflow($1, $2)', ['Twice', JSON.stringify(chain(start))]);
    }
    await expect(plan([document('Twice')])).rejects.toMatchObject({ code: 'WF003', message: expect.stringContaining('2 workflows') });
  });
});

test('a secret variable stays as it is: documents hold no secrets', async () => {
  await db.admin.query(
    `with made as (
       insert into private.secrets (id, organization_id, version, key_id, wrapped_key, sealed)
       select engine.uuid_v7(), $1, 1, 'k', decode(repeat('00', 60), 'hex'), decode(repeat('00', 29), 'hex') returning id
     )
     insert into variables (organization_id, name, secret_id) select $1, 'key', id from made`,
    [acme.id],
  );
  await expect(plan([], { variables: { key: 'open' } })).rejects.toMatchObject({
    code: 'WF003',
    message: expect.stringContaining("'key' is secret"),
  });
});

describe('who may apply', () => {
  test('a token that reads may plan and not apply; without a token neither', async () => {
    const { rows } = await acme.user.query<{ secret: string }>(`select (create_api_token('ci', '{workflows:read}')).secret`);
    const reader = asUser(db, rows[0]!.secret);
    const documents = JSON.stringify([document('Orders')]);
    expect((await reader.query('select action from plan_workflows($1)', [documents])).rows).toEqual([{ action: 'create' }]);
    await expect(reader.query('select apply_workflows($1)', [documents])).rejects.toMatchObject({ code: 'WF005' });
    await expect(asAnonymous(db).query('select plan_workflows($1)', [documents])).rejects.toMatchObject({ code: '42501' });
  });
});

test('two that apply the same documents at once create each workflow once', async () => {
  const documents = [document('Orders'), document('Prices')];
  const [one, two] = await Promise.all([apply(documents), apply(documents)]);
  expect([...short(one), ...short(two)].filter(([action]) => action === 'create')).toHaveLength(2);
  expect(await stored()).toHaveLength(2);
});

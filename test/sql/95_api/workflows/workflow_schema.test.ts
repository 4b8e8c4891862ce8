/** workflow_schema(): the JSON schema of files accepts what publishing accepts, and points at mistakes. */
import { readFile, readdir } from 'node:fs/promises';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { beforeAll, expect, test } from 'vitest';
import { createTestDatabase } from '../../../helpers/database.ts';

const EXAMPLES = new URL('../../../../examples/', import.meta.url);
let validate: ReturnType<Ajv2020['compile']>;
let schema: object;
beforeAll(async () => {
  const { admin } = await createTestDatabase();
  const { rows } = await admin.query<{ schema: object }>('select workflow_schema() as schema');
  schema = rows[0]!.schema;
  // allowUnionTypes: a type may be a list of types.
  validate = new Ajv2020({ allErrors: true, strict: true, strictRequired: false, strictTypes: false }).compile(schema);
});

const problems = (document: unknown): string[] => {
  validate(document);
  return (validate.errors ?? []).map(({ instancePath, keyword }) => `${instancePath} ${keyword}`);
};
const of = (...nodes: object[]) => ({ nodes: [{ id: 'start', type: 'apiTrigger' }, ...nodes] });

test('the file workflow.schema.json, which editors read, is this schema', async () => {
  // Write it anew with: npm test -- test/sql/95_api/workflows/workflow_schema.test.ts -u
  await expect(`${JSON.stringify(schema, null, 2)}\n`).toMatchFileSnapshot('../../../../workflow.schema.json');
});

test('every example is valid', async () => {
  const files = (await readdir(EXAMPLES, { recursive: true })).filter((file) => /^[\w/-]+\.json$/.test(file));
  expect(files.length).toBeGreaterThan(9);
  for (const file of files) {
    expect.soft(problems(JSON.parse(await readFile(new URL(file, EXAMPLES), 'utf8'))), file).toEqual([]);
  }
});

test('an expression may stand for a number, and a type may name its version', () => {
  const wait = (type: string, seconds: unknown) => of({ id: 'a', type, properties: { seconds } });
  expect(problems({ name: 'Waits', tags: ['a'], ...wait('wait@1', '{{ $.prev.seconds }}') })).toEqual([]);
  expect(problems(wait('wait', '5'))).not.toEqual([]);
});

test.each([
  ['a node type that does not exist', of({ id: 'a', type: 'nothing' }), '/nodes/1/type anyOf'],
  [
    'a property that the type does not have',
    of({ id: 'a', type: 'set', properties: { asign: {} } }),
    '/nodes/1/properties additionalProperties',
  ],
  ['a missing property', of({ id: 'a', type: 'forEach', properties: {} }), '/nodes/1/properties required'],
  ['no properties where some are needed', of({ id: 'a', type: 'forEach' }), '/nodes/1 required'],
  [
    'a number that is too large',
    of({ id: 'a', type: 'forEach', properties: { workflow: 'x', items: [], concurrency: 1e9 } }),
    '/nodes/1/properties/concurrency maximum',
  ],
  ['an unknown key', { ...of(), conections: [] }, ' additionalProperties'],
])('%s is pointed at', (_, document, problem) => {
  expect(problems(document)).toContain(problem);
});

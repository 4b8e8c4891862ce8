/** Import from n8n: whatever is not translated is reported, and nothing raises. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Document, RUNS } from './documents.ts';
import { codesOf, definitionOf, useImporter } from './importer.ts';
import { NOTES } from './notes.ts';

useImporter();

test.each(Object.entries(NOTES))('is told: %s', async (_name, [doc, pointer, stub]) => {
  const { definition, problems } = await definitionOf(doc);
  expect(problems.map((problem) => problem.pointer)).toContain(pointer);
  expect(definition.nodes.some(({ type }) => type === 'unconverted')).toBe(stub === 'stub');
  expect((await codesOf(definition)).includes('UNCONVERTED_NODE')).toBe(stub === 'stub');
});

const documents: Document[] = [...Object.values(RUNS).map(([doc]) => doc), ...Object.values(NOTES).map(([doc]) => doc)];
/** JSON pointers of all objects in a value. */
function objectsIn(value: unknown, pointer: string): string[] {
  if (typeof value !== 'object' || value === null) return [];
  const inside = Object.entries(value).flatMap(([key, child]) =>
    objectsIn(child, `${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`),
  );
  return Array.isArray(value) ? inside : [pointer, ...inside];
}
const at = (value: unknown, pointer: string): unknown =>
  pointer
    .split('/')
    .slice(1)
    .reduce<unknown>((inner, key) => (inner as Record<string, unknown>)[key.replaceAll('~1', '/').replaceAll('~0', '~')], value);

test('a parameter that nobody knows is always told, wherever it is', async () => {
  // What a disabled node has does nothing in n8n either.
  const places = documents.flatMap((doc, number) =>
    doc.nodes.flatMap((one, place) =>
      (one as { disabled?: boolean }).disabled
        ? []
        : objectsIn((one as { parameters: unknown }).parameters, `/nodes/${place}/parameters`).map((pointer) => ({ number, pointer })),
    ),
  );
  const scalar = fc.oneof(fc.string({ maxLength: 5 }), fc.integer(), fc.boolean(), fc.constant(null));
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...places),
      fc.stringMatching(/^[a-z/~=*]{1,8}_x$/),
      scalar,
      async ({ number, pointer }, key, value) => {
        const doc = structuredClone(documents[number]!);
        (at(doc, pointer) as Record<string, unknown>)[key] = value;
        const before = await definitionOf(documents[number]!);
        const after = await definitionOf(doc);
        const told = after.problems.some(
          (problem) => problem.pointer.startsWith(pointer) && problem.pointer.includes(key.replaceAll('~', '~0').replaceAll('/', '~1')),
        );
        // In a value it is a part of the value; a node without a counterpart is told as a whole.
        return (
          told ||
          JSON.stringify(after.definition) !== JSON.stringify(before.definition) ||
          after.definition.nodes.some(({ type }) => type === 'unconverted')
        );
      },
    ),
    { numRuns: 60 },
  );
});

/** What has no effect on a run, in n8n and here. */
const WITHOUT_EFFECT =
  /\/(id|version|singleValue|__rl|cachedResultUrl|renameOutput|outputKey|caseSensitive)$|\/workflowId\/mode$|\/operator\/name$/;

test('a parameter that has another value is translated otherwise, or told', async () => {
  /** JSON pointers of what is no object and no list. */
  const leaves = (value: unknown, pointer: string): string[] =>
    typeof value === 'object' && value !== null
      ? Object.entries(value).flatMap(([key, child]) => leaves(child, `${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`))
      : [pointer];
  const other = (value: unknown) =>
    typeof value === 'string' ? `${value}x` : typeof value === 'number' ? value + 1 : typeof value === 'boolean' ? !value : 'x';
  const unnoticed: string[] = [];
  for (const doc of documents) {
    const before = JSON.stringify(await definitionOf(doc));
    for (const [place, one] of (doc.nodes as { disabled?: boolean; parameters: unknown }[]).entries()) {
      if (one.disabled || before.includes('"unconverted"')) continue;
      for (const pointer of leaves(one.parameters, `/nodes/${place}/parameters`)) {
        if (WITHOUT_EFFECT.test(pointer)) continue;
        const changed = structuredClone(doc);
        const [, parent, key] = /^(.*)\/([^/]*)$/.exec(pointer)!;
        const holder = at(changed, parent!) as Record<string, unknown>;
        const name = key!.replaceAll('~1', '/').replaceAll('~0', '~');
        holder[name] = other(holder[name]);
        const after = await definitionOf(changed);
        const told = after.problems.some(({ pointer: of }) => pointer === of || pointer.startsWith(`${of}/`));
        // A body that is not sent is told at the switch that says so.
        if (pointer.endsWith('/jsonBody') && after.problems.some(({ pointer: of }) => of.endsWith('/sendBody'))) continue;
        if (pointer.endsWith('/1/value') && after.problems.some(({ pointer: of }) => of.endsWith('/1/name'))) continue; // of a second name
        if (!told && JSON.stringify(after) === before) unnoticed.push(`${JSON.stringify(one)} ${pointer}`);
      }
    }
  }
  expect(unnoticed).toEqual([]);
});

test('what is made of an export can be read: nothing but stubs keeps it from being published', async () => {
  for (const doc of documents) {
    const codes = await codesOf((await definitionOf(doc)).definition);
    expect(codes.filter((code) => !['UNCONVERTED_NODE', 'MISSING_WORKFLOW', 'NO_TRIGGER', 'UNREACHABLE'].includes(code))).toEqual([]);
  }
});

test('no export of the corpus raises an error, and each problem has a place and a message', async () => {
  for (const doc of documents) {
    for (const { pointer, message } of (await definitionOf(doc)).problems) {
      expect(pointer).toMatch(/^\/(nodes|connections|settings)\//);
      expect(message.length).toBeGreaterThan(10);
    }
  }
});

test('parameters of any shape raise no error', async () => {
  const types = [
    'webhook',
    'if',
    'switch',
    'set',
    'httpRequest',
    'merge',
    'scheduleTrigger',
    'cron',
    'respondToWebhook',
    'wait',
    'executeWorkflow',
    'filter',
    'stopAndError',
  ];
  const keys = [
    'conditions',
    'rules',
    'values',
    'assignments',
    'rule',
    'interval',
    'options',
    'url',
    'string',
    'number',
    'mode',
    'name',
    'value',
    'value1',
    'amount',
    'fields',
    'sendBody',
    'jsonBody',
    'triggerTimes',
    'item',
    'operator',
    'timeout',
    'headerParameters',
    'parameters',
  ];
  const { json } = fc.letrec((tie) => ({
    json: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom<unknown>(null, true, 0, 1e30, '', '=', '={{ $json.a }}', '={{', 'x', '5', 'raw', 'combine'),
      fc.array(tie('json'), { maxLength: 2 }),
      fc.dictionary(fc.constantFrom(...keys), tie('json'), { maxKeys: 4 }),
    ),
  }));
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...types),
      fc.constantFrom<unknown>(1, 2, 3, 3.2, 4.2, 'x', -1, 1e40),
      json,
      json,
      async (type, typeVersion, parameters, connections) => {
        await definitionOf({
          nodes: [
            {
              name: 'N',
              type: `n8n-nodes-base.${type}`,
              typeVersion,
              parameters,
              position: connections,
              onError: parameters,
              disabled: connections,
            },
          ],
          connections: { N: connections },
          settings: parameters,
        });
        return true;
      },
    ),
    { numRuns: 150 },
  );
});

/** The page docs/how-to/graphql-clients.md beside the schema. */
import { readFile } from 'node:fs/promises';
import { buildSchema, isObjectType, isScalarType, parse, specifiedScalarTypes, validate } from 'graphql';
import { expect, test } from 'vitest';

const read = (path: string) => readFile(new URL(`../../${path}`, import.meta.url), 'utf8');
const page = await read('docs/how-to/graphql-clients.md');
const schema = buildSchema(await read('schema.graphql'));
const types = Object.values(schema.getTypeMap()).filter(({ name }) => !name.startsWith('__'));

test('the map of scalars has all of them', () => {
  const [, json = ''] = /```json\n([\s\S]*?)```/.exec(page) ?? [];
  const own = types.filter((type) => isScalarType(type) && !specifiedScalarTypes.some(({ name }) => name === type.name));
  expect(Object.keys(JSON.parse(json) as object)).toEqual(own.map(({ name }) => name).sort());
});

test('the keys of the cache are the types without an id', () => {
  // graphcache embeds connections and edges by itself, and never asks for the keys of the roots and of payloads.
  const known = /^(Query|Mutation|Subscription|PageInfo)$|(Payload|Connection|Edge)$/;
  const embedded = types.filter((type) => isObjectType(type) && !known.test(type.name) && !type.getFields()['id']);
  const keys = [...page.matchAll(/^ {4}(\w+): \(\) => null,$/gm)].map(([, name]) => name);
  expect(keys).toEqual(embedded.map(({ name }) => name).sort());
});

test('its queries are of the schema', () => {
  const [, query = ''] = /query: '([^']+)'/.exec(page) ?? [];
  expect(validate(schema, parse(query))).toEqual([]);
});

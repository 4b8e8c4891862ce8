import { readFile } from 'node:fs/promises';
import { buildSchema, parse, validate } from 'graphql';
import { describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/graphql/limits.ts';

const read = (name: string) => readFile(new URL(`../../${name}`, import.meta.url), 'utf8');
const page = await read('docs/reference/api.md');
const schema = buildSchema(await read('schema.graphql'));

describe('docs/reference/api.md', () => {
  test('has queries that the schema knows', () => {
    const blocks = [...page.matchAll(/```graphql\n(.*?)```/gs)].map(([, text]) => text!.replaceAll('nodes …', 'nodes'));
    expect(blocks.length).toBeGreaterThan(0);
    for (const text of blocks) expect(validate(schema, parse(text))).toEqual([]);
    const inline = /"query": "(\{[^"]+\})"/.exec(page)![1]!;
    expect(validate(schema, parse(inline))).toEqual([]);
  });

  test('and so has the page about following a run', async () => {
    const query = /const query = '([^']+)'/.exec(await read('docs/how-to/follow-a-run.md'))![1]!;
    expect(validate(schema, parse(query))).toEqual([]);
  });

  test('names fields that there are', () => {
    const fields = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()].flatMap((type) =>
      Object.keys(type!.getFields()),
    );
    const table = page.slice(page.indexOf('## Workflows through the API'));
    const named = [...table.matchAll(/`([a-z][A-Za-z0-9]+)(?:\(|`)/g)].map(([, name]) => name!).filter((name) => name !== 'problems');
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((name) => !fields.includes(name))).toEqual([]);
  });

  test('says the limits that are', () => {
    const number = (value: number) => value.toLocaleString('en-US');
    for (const text of [
      `A page has ${LIMITS.defaultPage} rows, \`first\` or \`last\` up to ${LIMITS.maxPage}`,
      `at most\n${number(LIMITS.maxOffset)}`,
      `body with a valid token | ${LIMITS.maxTokenBodyBytes / 1024 ** 2} MiB`,
      `for every ${LIMITS.maxBodyBytes / 1024} kB`,
      `body without a token, message on a WebSocket | ${LIMITS.maxBodyBytes / 1024} kB`,
      `text of the document | ${LIMITS.maxDocumentBytes / 1024} kB`,
      `2 s for \`testWorkflow\``,
      `${number(LIMITS.maxTokens)} words and signs, ${LIMITS.maxAliases} aliases, ${LIMITS.maxDepth} levels`,
      `${number(LIMITS.maxAnonymousTokens)} words and signs (`,
      `${LIMITS.maxDefinitions} operations and fragments, ${LIMITS.maxSelections}\nfields beside each other, fragments in ${LIMITS.maxSpreads} places, ${LIMITS.maxDirectives} directives, ${LIMITS.maxNesting} levels`,
      `cost | ${number(LIMITS.maxCost)}`,
      `page | ${LIMITS.maxPage} rows`,
      `${LIMITS.maxSockets} of a token or address, ${LIMITS.maxSubscriptions} operations`,
    ]) {
      expect(page).toContain(text);
    }
  });
});

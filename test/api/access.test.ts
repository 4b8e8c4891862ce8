/**
 * Who may do what, of everything that is exposed: test/api/access.txt. A change of it is to be reviewed, not only taken
 * over; whatever it says, nobody reaches into another organization.
 */
import { beforeAll, expect, test } from 'vitest';
import { serveGraphql } from '../helpers/graphql.ts';
import { type Caller, createCallers } from './access/callers.ts';
import { readFunctions } from './access/calls.ts';
import { createWorlds } from './access/fixture.ts';
import { mutateAll, queryAll, readFields, subscribeAll } from './access/graphql.ts';
import { callAll, formatMatrix, readAll, type Section } from './access/matrix.ts';

let callers: Caller[];
let sections: Section[];
beforeAll(async () => {
  const worlds = await createWorlds();
  callers = await createCallers(worlds);
  const server = await serveGraphql(worlds.db, { maxCost: 1_000_000, accessLogSample: 0, vault: worlds.vault });
  const [functions, fields] = [await readFunctions(worlds.db), await readFields(worlds)];
  sections = [
    await readAll(worlds, callers),
    ...(await callAll(worlds, callers, functions)),
    ...(await queryAll(server, worlds, callers, fields)),
    await mutateAll(server, worlds, callers, fields, functions),
    ...(await subscribeAll(server, worlds, callers, fields)),
  ];
}, 240_000);

test('everything that is exposed is in the reviewed matrix', async () => {
  await expect(formatMatrix(callers, sections)).toMatchFileSnapshot('access.txt');
});

test('nobody reaches into another organization', () => {
  expect(sections.flatMap(({ reached }) => reached)).toEqual([]);
});

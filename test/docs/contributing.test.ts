/** The recipes of CONTRIBUTING, followed to the letter. */
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, inject, onTestFinished, test } from 'vitest';
import { codeFunctions, lintDrops, lintMigration } from '../../tools/lint-migrations.ts';
import { installSources } from '../../src/database/apply_sources.ts';
import { connect } from '../../src/database/connections.ts';
import { prepareDatabase, releaseConnections, upgrade } from '../../src/database/migrate.ts';
import { BUILD_FOLDER, readSources } from '../../src/database/sources.ts';
import { changedSources } from '../helpers/builds.ts';
import { TEST_PASSWORDS } from '../../tools/build-database.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { PsqlSession } from '../helpers/page.ts';
import { fingerprint } from '../schema/fingerprint.ts';

const page = await readFile(join(BUILD_FOLDER, 'CONTRIBUTING.md'), 'utf8');
const section = (heading: string) => page.split(/^## /m).find((each) => each.startsWith(`${heading}\n`))!;
/** The blocks of a section in a language, without the indentation of lists. */
const blocks = (heading: string, language: string) =>
  [...section(heading).matchAll(/^( *)```(\w*)\n([\s\S]*?)^ *```$/gm)]
    .filter(([, , each]) => each === language)
    .map(([, indent, , text]) => text!.replaceAll(new RegExp(`^${indent}`, 'gm'), ''));

test('a node in SQL', async () => {
  const db = await createTestDatabase();
  const { id } = await createOrganization(db, 'Demo');
  await db.admin.query(`update organizations set slug = 'demo' where id = $1`, [id]);
  const client = await connect(db.adminUrl);
  const script = blocks('Adding a node in SQL', 'sql').join('\n');
  const result = await new PsqlSession(client).run(script).finally(() => client.end());
  const [, wanted] = /gives `(\{.*?\})`/.exec(section('Adding a node in SQL'))!;
  expect(result!.rows).toEqual([{ workflow_runs_output: wanted }]);
});

test('a node in TypeScript', async () => {
  const heading = 'Adding a node in TypeScript';
  const folder = await mkdtemp(join(tmpdir(), 'flowgres-recipe-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  for (const part of ['src', 'sql', 'test', 'tools', 'migrations', 'docs', 'package.json', 'vitest.config.ts', 'tsconfig.json']) {
    await cp(join(BUILD_FOLDER, part), join(folder, part), { recursive: true, verbatimSymlinks: true });
  }
  await symlink(join(BUILD_FOLDER, 'node_modules'), join(folder, 'node_modules'), 'dir');
  const edit = async (path: string, change: (text: string) => string) => {
    const text = await readFile(join(folder, path), 'utf8');
    expect(change(text)).not.toBe(text);
    await writeFile(join(folder, path), change(text));
  };
  const [node, itsTest] = blocks(heading, 'ts');
  const [row] = blocks(heading, '');
  await writeFile(join(folder, 'src/nodes/chat_message.ts'), node!);
  await writeFile(join(folder, 'test/nodes/chat_message.test.ts'), itsTest!);
  await edit('src/nodes/registry.ts', (text) =>
    text
      .replace(`import { httpRequest }`, `import { chatMessage } from './chat_message.ts';\nimport { httpRequest }`)
      .replace('entry(httpRequest)', 'entry(chatMessage), entry(httpRequest)'),
  );
  await edit('sql/30_workflows/nodes/node_types.sql', (text) => text.replace(/^ {2}\('httpRequest'/m, `${row}\n$&`));

  // Its own test, and the types of the whole.
  const run = (file: string, ...args: string[]) =>
    promisify(execFile)(process.execPath, [join(BUILD_FOLDER, 'node_modules', file), ...args], {
      cwd: folder,
      env: { ...process.env, FLOWGRES_TEST_SERVER: inject('serverUrl'), FLOWGRES_TEST_LAYER: '00_foundation' },
    });
  expect((await run('vitest/vitest.mjs', 'run', 'test/nodes/chat_message.test.ts')).stdout).toMatch(/1 passed/);

  // An installation that is upgraded gets the node, and is the same as a new one.
  const sources = readSources(folder);
  const [upgraded, fresh] = await Promise.all([createTestDatabase(), createTestDatabase({ empty: true })]);
  await prepareDatabase(fresh.adminUrl, TEST_PASSWORDS);
  const [old, empty] = await Promise.all([connect(upgraded.adminUrl), connect(fresh.adminUrl)]);
  await upgrade(old, upgraded.adminUrl, sources).finally(() => old.end());
  await installSources(empty, sources).finally(() => empty.end());
  releaseConnections();
  expect((await upgraded.admin.query(`select kind from engine.node_types where name = 'chatMessage'`)).rows).toEqual([{ kind: 'effect' }]);
  expect(await fingerprint(upgraded.admin)).toEqual(await fingerprint(fresh.admin));
}, 120_000);

test('a changed table: the migration of the page passes the lint and can be applied', async () => {
  const [migration] = blocks('Changing a table', 'sql');
  expect(await lintMigration('current.sql', migration!, codeFunctions())).toEqual([]);
  const db = await createTestDatabase();
  const client = await connect(db.adminUrl);
  await upgrade(client, db.adminUrl, await changedSources({ migrations: [migration!] })).finally(() => client.end());
  releaseConnections();
  expect((await db.admin.query('select color from workflows')).fields.map(({ name }) => name)).toEqual(['color']);
});

test('a GraphQL mutation: the function of the page can be called by who may', async () => {
  const db = await createTestDatabase();
  const acme = await createOrganization(db);
  const workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }));
  const [mutation] = blocks('Adding a GraphQL mutation', 'sql');
  await db.admin.query(`set role flowgres_owner; ${mutation}; reset role`);
  const describeWorkflow = 'select description from describe_workflow($1, $2)';
  expect((await acme.user.query(describeWorkflow, [workflow.id, 'Takes orders in'])).rows).toEqual([{ description: 'Takes orders in' }]);
  const other = await createOrganization(db);
  await expect(other.user.query(describeWorkflow, [workflow.id, 'Mine'])).rejects.toMatchObject({
    detail: expect.stringContaining('NOT_FOUND'),
  });
});

test('a changed function: the line for its old signature passes the lint', () => {
  const [line] = blocks('Changing a function', 'sql');
  expect(lintDrops('sql/dropped.sql', line!)).toEqual([]);
});

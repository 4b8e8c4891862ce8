/** Workflows in files: reading them, and `flowgres apply`, `diff`, `export`, `run`, `runs` and `logs` against a server. */
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { parseSource, readFolder } from '../../src/deploy/files.ts';
import { finishCli } from '../helpers/cli.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../helpers/factory.ts';
import { serveGraphql } from '../helpers/graphql.ts';
import { createCredential, createTestVault } from '../helpers/vault.ts';
import { roomyFolder } from '../helpers/server.ts';

const EXAMPLES = fileURLToPath(new URL('../../examples', import.meta.url));
const start = { id: 'start', type: 'apiTrigger' };
const hello = {
  nodes: [start, { id: 'end', type: 'transform', properties: { template: { hello: '{{ $.prev.name }}' } } }],
  connections: [{ source: 'start', target: 'end' }],
};

async function folderOf(files: Record<string, string | object>): Promise<string> {
  const folder = await mkdtemp(join(await roomyFolder(), `flowgres-test-${process.pid}-files-`));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content, null, 2));
  }
  return folder;
}

describe('files', () => {
  test('JSON and YAML say the same; the name is that of the file unless it is given', async () => {
    const yaml = '# Greets.\n$schema: http://x/schema/workflow.json\nname: Named\ntags: [a]\nnodes:\n  - { id: start, type: apiTrigger }\n';
    const folder = await folderOf({
      'plain.json': hello,
      'other.yaml': yaml,
      'variables.yml': 'rate: 1.50\n',
      'plain.input.json': {},
      'notes.md': 'x',
    });
    const { workflows, variables } = await readFolder(folder);
    expect(workflows.map(({ document }) => document)).toMatchObject([
      { name: 'Named', tags: ['a'], definition: { nodes: [start] } },
      { name: 'plain', definition: hello },
    ]);
    expect(workflows[0]!.document.definition).not.toHaveProperty('$schema');
    expect(JSON.stringify(variables)).toBe('{"rate":1.50}');
  });

  test('a place is found by its pointer, also in an object that misses it', () => {
    const file = parseSource('a.json', '{\n  "nodes": [\n    {"id": "a"},\n    {\n      "id": "b",\n      "a/b": 1\n    }\n  ]\n}', [])!;
    expect(
      ['/nodes/0/id', '/nodes/1/id', '/nodes/1/a~1b', '/nodes/1/properties/url', '/settings'].map((each) => file.lineOf(each)),
    ).toEqual([3, 5, 6, 4, 1]);
  });

  test('every file with a problem is named with the line', async () => {
    const folder = await folderOf({
      'broken.json': '{\n  "nodes": [\n}',
      'list.json': '[]',
      'no-nodes.json': '{\n  "tags": "a"\n}',
      'one.json': { name: 'Same', nodes: [] },
      'two.json': { name: 'Same', nodes: [] },
    });
    const { code, message } = (await readFolder(folder).catch((error: unknown) => error)) as { code: string; message: string };
    expect(code).toBe('INVALID_FILES');
    for (const line of [
      /^broken\.json:\d: /m,
      /^list\.json:1: /m,
      /^no-nodes\.json:2: tags: /m,
      /^two\.json:2: one\.json has the name Same/m,
    ]) {
      expect.soft(message).toMatch(line);
    }
  });
});

describe('the command line', () => {
  let acme: TestOrganization;
  let environment: Record<string, string>;
  beforeAll(async () => {
    const db = await createTestDatabase();
    acme = await createOrganization(db);
    // What examples use, and files do not hold.
    const keys = await createTestVault();
    const secret = 'a secret of sixteen characters';
    await createCredential(db, keys, acme, { name: 'github', type: 'hmac', data: { secrets: [secret] } });
    await createCredential(db, keys, acme, { name: 'stripe', type: 'hmac', data: { secrets: [secret] } });
    await db.admin.query(
      `with made as (
         insert into private.secrets (id, organization_id, version, key_id, wrapped_key, sealed)
         select engine.uuid_v7(), $1, 1, 'k', decode(repeat('00', 60), 'hex'), decode(repeat('00', 29), 'hex') returning id
       )
       insert into variables (organization_id, name, secret_id) select $1, 'partner_key', id from made`,
      [acme.id],
    );
    const server = await serveGraphql(db);
    environment = { FLOWGRES_URL: server.url.replace('/graphql', ''), FLOWGRES_TOKEN: acme.token };
  });
  const flowgres = (...args: string[]) => finishCli(args, environment);

  test('apply deploys the examples, and the second time there is no change', async () => {
    const files = (await readdir(EXAMPLES, { recursive: true })).filter((file) => /^[\w/-]+\.json$/.test(file));
    const planned = await flowgres('diff', EXAMPLES);
    expect(planned).toMatchObject({
      code: 2,
      output: expect.stringContaining(`${files.length} to create, 0 to change, 0 to archive, 0 unchanged.`),
    });
    const first = await flowgres('apply', EXAMPLES, '--message', 'First');
    expect(first).toMatchObject({ code: 0, output: expect.stringMatching(/create +workflow +order-intake +v1/) });
    expect(await flowgres('apply', EXAMPLES)).toEqual({ code: 0, output: `No change: ${files.length} unchanged.\n` });
    expect(await flowgres('apply', EXAMPLES, '--dry-run', '--prune')).toMatchObject({ code: 0 });

    const followed = await flowgres('run', 'order-intake', '--input', join(EXAMPLES, 'order-intake.input.json'));
    expect(followed.output).toMatch(/^order-intake [0-9a-f-]{36}: \w+/);
    const id = /[0-9a-f-]{36}/.exec(followed.output)![0];
    expect((await flowgres('runs', '--workflow', 'order-intake')).output).toContain(id);
    expect(await flowgres('logs', id)).toMatchObject({ code: 0 });
  }, 60_000);

  test('what is exported is applied again without a change, and a run prints its output', async () => {
    const folder = await folderOf({ 'hello.json': hello, 'variables.json': { rate: 0.19 } });
    expect(await flowgres('apply', folder, '--project', 'hello')).toMatchObject({ code: 0 });
    const target = await folderOf({});
    await flowgres('export', target, '--project', 'hello');
    expect(JSON.parse(await readFile(join(target, 'hello.json'), 'utf8'))).toEqual({
      $schema: `${environment['FLOWGRES_URL']}/schema/workflow.json`,
      ...hello,
    });
    expect((await flowgres('diff', target, '--project', 'hello', '--prune')).output).toBe('No change: 2 unchanged.\n');

    await writeFile(join(target, 'hello.input.json'), '{"name": "Ada"}');
    const run = await flowgres('run', 'hello', '--input', join(target, 'hello.input.json'), '--follow');
    expect(run.code).toBe(0);
    expect(run.output).toMatch(/run\.created[\s\S]*run\.succeeded[\s\S]*"hello": "Ada"/);
  }, 60_000);

  test('a problem of a definition is shown at its file and line, and nothing is applied', async () => {
    const folder = await folderOf({ 'bad.json': '{\n  "nodes": [\n    {"id": "start", "type": "apiTriger"}\n  ]\n}', 'fine.json': hello });
    const { code, output } = await flowgres('apply', folder, '--project', 'bad');
    expect([code, output]).toEqual([1, expect.stringMatching(/^bad\.json:3: there is no node type apiTriger/m)]);
    expect((await acme.user.query(`select from workflows where name = 'fine'`)).rows).toEqual([]);
    expect(await finishCli(['diff', folder], { FLOWGRES_DATA: folder })).toMatchObject({
      code: 1,
      output: expect.stringContaining('FLOWGRES_URL is not set'),
    });
  }, 60_000);
});

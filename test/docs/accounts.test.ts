/** The walk of docs/tutorials/people-and-tokens.md, as a newcomer pastes it: one shell, from top to bottom; and its reference. */
import { execFileSync, spawn } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { createTestDatabase } from '../helpers/database.ts';
import { serveGraphql } from '../helpers/graphql.ts';
import { outputPattern } from '../helpers/page.ts';

const read = (name: string) => readFile(new URL(`../../docs/${name}.md`, import.meta.url), 'utf8');
const blocks = [...(await read('tutorials/people-and-tokens')).matchAll(/^```sh\n(.*?)^```$/gms)].map((block) => block[1]!);
const END = '--- end of block';

/** A folder with a psql: the one of the machine, or one of ours that can do as much as the page needs. */
async function findPsql(): Promise<string> {
  try {
    execFileSync('psql', ['--version']);
    return '';
  } catch {
    const folder = await mkdtemp(join(tmpdir(), 'flowgres-psql-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const file = join(folder, 'psql');
    await writeFile(
      file,
      `#!/bin/sh\nexec '${process.execPath}' '${fileURLToPath(new URL('../helpers/psql.ts', import.meta.url))}' "$@"\n`,
    );
    await chmod(file, 0o755);
    return `${folder}:`;
  }
}

test('the walk leads from nothing to a list of runs', async () => {
  const db = await createTestDatabase();
  const server = await serveGraphql(db);
  const script = blocks.map((block) => `${block}\necho; echo '${END}'`).join('\n');
  const shell = spawn('bash', ['--norc', '-euo', 'pipefail', '-c', script], {
    // With a socket as its input, bash would take itself for a remote shell and read the machine's settings.
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      PATH: `${await findPsql()}${process.env['PATH']}`,
      FLOWGRES: server.url.replace('/graphql', ''),
      DATABASE: db.adminUrl,
    },
  });
  const [output, problems] = await Promise.all([text(shell.stdout), text(shell.stderr)]);
  expect(problems).toBe('');
  const outputs = output.split(END);
  expect(blocks.length).toBeGreaterThan(8);
  for (const [place, block] of blocks.entries()) {
    const expected = [...block.matchAll(/^# → (.*)$/gm)].map((line) => line[1]!).join('\n');
    if (expected) expect(outputs[place]!.trim(), block).toMatch(outputPattern(expected));
  }
}, 60_000);

test('the functions of the reference and of the pages about signing in exist', async () => {
  const db = await createTestDatabase();
  const pages = await Promise.all(['reference/accounts', 'explanation/sign-in', 'how-to/identity-provider'].map(read));
  const names = [...pages.join('\n').matchAll(/`(?:\w+\.)?([a-z]+(?:_[a-z]+)+)\(/g)].map(([, name]) => name!);
  expect(names.length).toBeGreaterThan(20);
  const { rows } = await db.admin.query<{ proname: string }>('select proname from pg_proc where proname = any ($1)', [names]);
  const known = new Set(rows.map(({ proname }) => proname));
  expect([...new Set(names)].filter((name) => !known.has(name))).toEqual([]);
});

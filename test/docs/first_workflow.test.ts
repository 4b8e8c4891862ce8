/** docs/tutorials/first-workflow.md, as a newcomer follows it: `flowgres start`, a shell and psql beside it. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type pg from 'pg';
import { expect, test } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { TEST_SECRET } from '../../tools/build-database.ts';
import { ready, runCli, temporaryFolder } from '../helpers/cli.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { PsqlSession, outputPattern, readBlocks } from '../helpers/page.ts';

const blocks = await readBlocks('tutorials/first-workflow.md');

/** The cells of a table of the page, whatever their width, without the line under its heading. */
function tableOf(text: string): string[][] {
  const lines = text.trimEnd().split('\n');
  return lines.filter((line) => !/^[-+]+$/.test(line)).map((line) => line.split('|').map((cell) => cell.trim()));
}

/** The same of what psql prints for a result. */
function printed({ fields, rows }: pg.QueryResult<Record<string, string | null>>): string[][] {
  const names = fields.map(({ name }) => name);
  const count = `(${rows.length} ${rows.length === 1 ? 'row' : 'rows'})`;
  return [names, ...rows.map((row) => names.map((name) => row[name] ?? '')), [count]];
}

/** The variables of a shell at the end of a block. */
async function environmentAfter(block: string, shell: (text: string) => Promise<string>): Promise<NodeJS.ProcessEnv> {
  const variables = (await shell(`${block}\nenv -0`)).split('\0').filter(Boolean);
  return Object.fromEntries(variables.map((each) => [each.slice(0, each.indexOf('=')), each.slice(each.indexOf('=') + 1)]));
}

test('the page leads from a start to a workflow that was changed and rolled back, and gives what it says', async () => {
  const db = await createTestDatabase();
  const folder = await temporaryFolder();
  const data = join(folder, '.flowgres');
  const cli = runCli(['start'], { FLOWGRES_DATA: data, DATABASE_URL: db.adminUrl, FLOWGRES_SECRET: TEST_SECRET });
  const { databaseUrl } = await ready(cli, data);
  const client = await connect(databaseUrl);
  const psql = new PsqlSession(client);
  let environment = process.env;
  const shell = async (text: string) => {
    const args = ['--norc', '-euo', 'pipefail', '-c', text];
    return (await promisify(execFile)('bash', args, { cwd: folder, env: environment })).stdout;
  };

  let output: string | Awaited<ReturnType<PsqlSession['run']>>;
  let outputs = 0;
  try {
    for (const { kind, text } of blocks) {
      // Each block has a shell of its own, with what the earlier ones have exported.
      if (kind === 'sh' && text.includes('export ')) environment = await environmentAfter(text, shell);
      else if (kind === 'sh') output = await shell(text);
      else if (kind === 'sql') output = await psql.run(text).catch((error: Error) => expect.fail(`${error.message} in: ${text}`));
      else if (kind === '') {
        outputs += 1;
        if (typeof output === 'string') expect(output).toMatch(outputPattern(text));
        else expect(printed(output!)).toEqual(tableOf(text));
      } else if (kind === 'text') await expect.poll(cli.output).toMatch(outputPattern(`…${text.replaceAll(':8080', ':…')}…`));
      else expect(kind).toBe('sh psql');
    }
  } finally {
    await client.end();
  }
  expect(outputs).toBeGreaterThan(15);
}, 120_000);

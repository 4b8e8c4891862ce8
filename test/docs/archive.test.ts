import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { TEST_SECRET } from '../../tools/build-database.ts';
import { contentOf, monthsOfRuns } from '../helpers/archive.ts';
import { finishCli, temporaryFolder } from '../helpers/cli.ts';

const PAGE = new URL('../../docs/how-to/archive.md', import.meta.url);

test('all commands and SQL of the page run, from top to bottom', async () => {
  const db = await monthsOfRuns();
  const before = await contentOf(db);
  const to = await temporaryFolder();
  const environment = { DATABASE_URL: db.adminUrl, FLOWGRES_SECRET: TEST_SECRET };
  const blocks = [...(await readFile(PAGE, 'utf8')).matchAll(/^```(sh|sql)\n(.*?)^```$/gms)].map(([, kind, text]) => ({
    kind,
    text: text!,
  }));
  expect(blocks.map(({ kind }) => kind)).toEqual(['sh', 'sql', 'sql', 'sql', 'sql', 'sh']);
  const client = await connect(db.adminUrl);
  for (const [index, { kind, text }] of blocks.entries()) {
    if (kind === 'sql') await client.query(text);
    else {
      for (const line of text.trim().split('\n')) {
        const args = line.replace('/mnt/archive', to).split(' ').slice(1);
        const { code, output } = await finishCli(args, environment);
        expect(code, `${line}\n${output}`).toBe(0);
      }
    }
    // The first three go there and back; then the page archives, and deletes for good.
    if (index < 2) expect(await contentOf(db)).toEqual(before);
  }
  await client.end();
  expect(await readFile(join(to, 'workflow_runs_y2025m01', 'manifest.json'), 'utf8')).toContain('"version": 1');
}, 60_000);

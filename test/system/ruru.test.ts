import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { ready, runCli, temporaryFolder } from '../helpers/cli.ts';
import { suite } from './packages.ts';

const SCREENSHOT = fileURLToPath(new URL('../../.artifacts/ruru.png', import.meta.url));

suite('Ruru in Chromium', ['chromium'], () => {
  test('the page shows the editor, without anything from other hosts', async () => {
    const folder = await temporaryFolder();
    const { graphqlUrl } = await ready(runCli(['start'], { FLOWGRES_DATA: folder }), folder);
    const page = graphqlUrl.replace('graphql', 'graphiql');
    const chromium = (...args: string[]) =>
      execFileSync(
        '/usr/bin/chromium',
        [
          '--headless',
          '--no-sandbox',
          '--disable-gpu',
          `--user-data-dir=${join(folder, 'chromium')}`,
          // Nothing but this machine resolves: a page that needed another host would stay empty.
          '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
          '--virtual-time-budget=15000',
          '--window-size=1280,800',
          ...args,
          page,
        ],
        { encoding: 'utf8', timeout: 60_000, stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 64 * 1024 ** 2 },
      );
    const dom = chromium('--dump-dom');
    expect(dom).toContain('graphiql-editor');
    mkdirSync(join(SCREENSHOT, '..'), { recursive: true });
    chromium(`--screenshot=${SCREENSHOT}`);
    expect(readFileSync(SCREENSHOT).subarray(1, 4).toString()).toBe('PNG');
  });
});

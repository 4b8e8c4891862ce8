/** The built package on the lowest Node that package.json promises. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { finishCli, ready, runCli, temporaryFolder } from '../helpers/cli.ts';
import { LOWEST_NODE } from '../helpers/daemons.ts';
import { suite } from './packages.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BUILT = [LOWEST_NODE, `${ROOT}dist/main.js`];

suite('The lowest Node', ['lowest-node'], () => {
  test('is the one that package.json names, and the built package starts, answers and stops on it', async () => {
    const { engines } = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')) as { engines: { node: string } };
    expect(execFileSync(LOWEST_NODE, ['--version'], { encoding: 'utf8' }).trim()).toBe(`v${engines.node.replace('>=', '')}.0`);
    execFileSync('npm', ['run', '--silent', 'build'], { cwd: ROOT });
    expect(await finishCli(['--help'], {}, BUILT)).toMatchObject({ code: 0 });

    const folder = await temporaryFolder();
    const cli = runCli(['start'], { FLOWGRES_DATA: folder }, BUILT);
    const { webhookUrl, graphqlUrl, token } = await ready(cli, folder);
    expect(cli.output()).toMatch(/order-intake \S+: success/);
    expect(await (await fetch(`${webhookUrl}/stock/KB-01`)).json()).toEqual({ sku: 'KB-01', available: 12 });
    const response = await fetch(graphqlUrl, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify({ query: '{ workflows { nodes { name } } }' }),
    });
    expect(await response.json()).toMatchObject({ data: { workflows: { nodes: expect.arrayContaining([{ name: 'order-intake' }]) } } });
    cli.child.kill('SIGTERM');
    expect(await cli.exited).toBe(0);
  }, 180_000);
});

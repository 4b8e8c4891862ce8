import { spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'flowgres-install-'));
  await mkdir(join(folder, 'tools'));
  await cp('tools/install.mjs', join(folder, 'tools/install.mjs'));
  await createProject();
});
afterAll(() => rm(folder, { recursive: true }));

/** A project whose lock file has one package, which is not installed. */
async function createProject(): Promise<void> {
  const one = { version: '1.0.0', resolved: 'http://127.0.0.1:1/one/-/one-1.0.0.tgz' };
  await writeFile(join(folder, 'package.json'), JSON.stringify({ name: 'p', version: '1.0.0', dependencies: { one: '1.0.0' } }));
  await writeFile(
    join(folder, 'package-lock.json'),
    JSON.stringify({
      name: 'p',
      version: '1.0.0',
      lockfileVersion: 3,
      packages: { '': { name: 'p', version: '1.0.0', dependencies: { one: '1.0.0' } }, 'node_modules/one': one },
    }),
  );
}

function install(environment: Record<string, string | undefined>): { status: number | null; stderr: string } {
  const env = { ...process.env, npm_config_fetch_retries: '0', npm_config_cache: join(folder, 'cache'), ...environment };
  return spawnSync(process.execPath, [join(folder, 'tools/install.mjs')], { env, encoding: 'utf8' });
}

/** An npm that fails with a code. */
async function failing(code: string): Promise<string> {
  const file = join(folder, `${code}.js`);
  await writeFile(file, `console.error('npm error code ${code}\\nnpm error more about it'); process.exit(7);`);
  return file;
}

test.each([
  ['EUSAGE', 'do not fit each other'],
  ['EINTEGRITY', 'npm cache clean'],
  ['ENOSPC', 'disk is full'],
  ['EACCES', 'may not write'],
  ['E401', 'registry refuses'],
  ['E404', 'registry refuses'],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'NODE_EXTRA_CA_CERTS'],
  ['ENOTFOUND', 'check the network'],
  ['ECONNRESET', 'check the network'],
  ['EIDLETIMEOUT', 'check the network'],
  ['ELIFECYCLE', 'What npm says above is the reason'],
])('a failure of npm with %s is explained, after what npm says', async (code, remedy) => {
  const { status, stderr } = install({ npm_execpath: await failing(code) });
  expect(status).toBe(7);
  expect(stderr).toMatch(new RegExp(`npm error more about it\\n+The dependencies could not be installed\\. .*${remedy}`));
});

test('a machine without npm is told so', () => {
  const { status, stderr } = install({ npm_execpath: undefined, PATH: '/nowhere' });
  expect(status).toBe(1);
  expect(stderr).toContain('npm is not installed');
});

test('the npm of this machine says it in the same way', async () => {
  expect(install({ npm_execpath: undefined, npm_config_registry: 'http://127.0.0.1:1' }).stderr).toContain('check the network');
  await rm(join(folder, 'package-lock.json'));
  expect(install({ npm_execpath: undefined }).stderr).toContain('do not fit each other');
}, 60_000);

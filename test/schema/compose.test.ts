import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { rolePassword } from '../../src/roles.ts';

const file = fileURLToPath(new URL('../../docker-compose.yml', import.meta.url));
const root = fileURLToPath(new URL('../..', import.meta.url));

interface Compose {
  services: Record<string, { init?: boolean; build?: string; environment?: Record<string, string>; depends_on?: Record<string, unknown> }>;
}

test('the compose file has the five services and each of them collects its dead processes', () => {
  const { services } = parse(readFileSync(file, 'utf8'), { merge: true }) as Compose;
  expect(Object.keys(services).sort()).toEqual(['api', 'migrate', 'pgbouncer', 'postgres', 'worker']);
  for (const [name, service] of Object.entries(services)) {
    expect.soft(service.init, name).toBe(true);
    expect.soft(existsSync(`${root}/${service.build}/Dockerfile`), name).toBe(true);
    for (const needed of Object.keys(service.depends_on ?? {})) expect.soft(services, name).toHaveProperty(needed);
  }
});

const hasCompose = spawnSync('docker', ['compose', 'version']).status === 0;
test.skipIf(!hasCompose)('docker compose accepts it', () => {
  const environment = { ...process.env, POSTGRES_PASSWORD: 'x', FLOWGRES_SECRET: 'a secret of the test' };
  execFileSync('docker', ['compose', '-f', file, 'config', '--quiet'], { env: environment });
});

test('pgbouncer derives the same password as the roles step', () => {
  const script = readFileSync(`${root}/docker/pgbouncer/entrypoint.sh`, 'utf8');
  const derive = /^password=.*$/m.exec(script)![0];
  const secret = 'a secret of the test';
  const password = execFileSync('sh', ['-c', `${derive}; printf %s "$password"`], { env: { ...process.env, FLOWGRES_SECRET: secret } });
  expect(password.toString()).toBe(rolePassword(secret, 'flowgres_api'));
});

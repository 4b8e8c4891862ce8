import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { parse } from 'yaml';

const file = fileURLToPath(new URL('../../docker-compose.yml', import.meta.url));
const root = fileURLToPath(new URL('../..', import.meta.url));

interface Compose {
  services: Record<
    string,
    {
      init?: boolean;
      build?: string;
      cap_drop?: string[];
      security_opt?: string[];
      read_only?: boolean;
      environment?: Record<string, string>;
      depends_on?: Record<string, unknown>;
    }
  >;
}

test('the compose file has the six services and each of them collects its dead processes', () => {
  const { services } = parse(readFileSync(file, 'utf8'), { merge: true }) as Compose;
  expect(Object.keys(services).sort()).toEqual(['api', 'maintenance', 'migrate', 'pgbouncer', 'postgres', 'worker']);
  for (const [name, service] of Object.entries(services)) {
    expect.soft(service.init, name).toBe(true);
    expect.soft(service.cap_drop, name).toEqual(['ALL']);
    expect.soft(service.security_opt, name).toEqual(['no-new-privileges:true']);
    expect.soft(service.read_only, name).toBe(true);
    expect.soft(existsSync(`${root}/${service.build}/Dockerfile`), name).toBe(true);
    for (const needed of Object.keys(service.depends_on ?? {})) expect.soft(services, name).toHaveProperty(needed);
  }
});

const hasCompose = spawnSync('docker', ['compose', 'version']).status === 0;
test.skipIf(!hasCompose)('docker compose accepts it', () => {
  const passwords = ['POSTGRES', ...PASSWORDS['migrate']!.map((role) => `FLOWGRES_${role}`)].map((name) => [
    `${name}_PASSWORD`,
    'x'.repeat(16),
  ]);
  const environment = { ...process.env, ...Object.fromEntries(passwords) };
  execFileSync('docker', ['compose', '-f', file, 'config', '--quiet'], { env: environment });
});

/** The roles that each service logs in as; nobody has a password of another. */
const PASSWORDS: Record<string, string[]> = {
  postgres: ['POSTGRES'],
  migrate: ['API', 'INTAKE', 'WORKER', 'MAINTENANCE', 'MONITOR'],
  pgbouncer: ['API'],
  api: ['API', 'INTAKE', 'MONITOR'],
  worker: ['WORKER', 'MONITOR'],
  maintenance: ['MAINTENANCE', 'WORKER', 'MONITOR'],
};

test('a service has the passwords of the roles that it logs in as, and no secret that others derive from', () => {
  const { services } = parse(readFileSync(file, 'utf8'), { merge: true }) as Compose;
  for (const [name, { environment }] of Object.entries(services)) {
    const secrets = Object.keys(environment ?? {}).filter((key) => /SECRET|PASSWORD/.test(key));
    const wanted = PASSWORDS[name]!.map((role) => (role === 'POSTGRES' ? 'POSTGRES_PASSWORD' : `FLOWGRES_${role}_PASSWORD`));
    expect.soft(secrets.sort(), name).toEqual(wanted.sort());
  }
});

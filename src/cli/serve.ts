/** `flowgres serve`, `work` and `maintain`: the processes of an installation that has its own database. */
import { type Config, requireDatabaseUrl, rolePasswords } from '../config.ts';
import { log } from '../log.ts';
import { startHttp } from '../http/server.ts';
import { type ServiceOptions, startServices } from './services.ts';
import { Shutdown } from './shutdown.ts';
import { MAILS_STAY } from './terminal.ts';

type Parts = Pick<ServiceOptions, 'serve' | 'work' | 'maintain'>;

const MAINTENANCE_ELSEWHERE =
  'Maintenance runs in another process, `flowgres maintain`: FLOWGRES_MAINTENANCE_PASSWORD is not set for this one.';

export async function serve(config: Config, options: { work?: boolean | undefined } = {}): Promise<void> {
  if (options.work) await runProcess(config, { serve: true, work: config, maintain: config }, 'GraphQL, webhooks and a worker');
  else await runProcess(config, { serve: true }, 'GraphQL and webhooks');
}

export async function work(config: Config): Promise<void> {
  await runProcess(config, { serve: false, work: config, maintain: config }, 'A worker');
}

export async function maintain(config: Config): Promise<void> {
  await runProcess(config, { serve: false, maintain: config }, 'Maintenance');
}

async function runProcess(config: Config, parts: Parts, what: string): Promise<void> {
  const databaseUrl = requireDatabaseUrl(config);
  const passwords = rolePasswords(config, databaseUrl);
  const { maintain: wanted, ...others } = parts;
  // Who has this password may become the owner: a worker can do without, when another process has it.
  const maintained = !parts.work || passwords.has('flowgres_maintenance');
  const shutdown = new Shutdown();
  try {
    const http = await startHttp(config);
    shutdown.add(() => http.close(0));
    const { poolerUrl, accessLog, api } = config;
    const options = { http, databaseUrl, poolerUrl, passwords, trust: config, accessLog, api, ...others };
    const services = await startServices({ ...options, ...(wanted && maintained ? { maintain: wanted } : {}) });
    shutdown.add(() => services.stop());
    log.info(`${what} on ${http.url}`);
    if (!maintained) log.info(MAINTENANCE_ELSEWHERE);
    if (parts.work && !config.mail) log.info(MAILS_STAY);
    await shutdown.requested;
  } finally {
    await shutdown.run();
  }
}

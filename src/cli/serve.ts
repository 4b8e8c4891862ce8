/** `flowgres serve`, `work` and `maintain`: the processes of an installation with a database of its own. */
import { type Config, requireDatabaseUrl, rolePasswords } from '../config.ts';
import { log } from '../log.ts';
import { buildConsole } from './console.ts';
import { startHttp } from '../http/server.ts';
import type { ServiceOptions } from './services.ts';
import { Shutdown } from './shutdown.ts';
import { MAILS_STAY, reportProblem } from './terminal.ts';

type Parts = Pick<ServiceOptions, 'serve' | 'work' | 'maintain'>;

const MAINTENANCE_ELSEWHERE =
  'Maintenance runs in another process, `flowgres maintain`: FLOWGRES_MAINTENANCE_PASSWORD is not set for this one.';

/** `flowgres serve`; with `work` the process is a worker too. */
export async function serve(config: Config, options: { work?: boolean | undefined } = {}): Promise<void> {
  if (options.work) await runProcess(config, { serve: true, work: config, maintain: config }, 'GraphQL, webhooks and a worker');
  else await runProcess(config, { serve: true }, 'GraphQL and webhooks');
}

/** `flowgres work`. */
export async function work(config: Config): Promise<void> {
  await runProcess(config, { serve: false, work: config, maintain: config }, 'A worker');
}

/** `flowgres maintain`. */
export async function maintain(config: Config): Promise<void> {
  await runProcess(config, { serve: false, maintain: config }, 'Maintenance');
}

async function runProcess(config: Config, parts: Parts, what: string): Promise<void> {
  const databaseUrl = requireDatabaseUrl(config);
  const passwords = rolePasswords(config, databaseUrl);
  const { maintain: wanted, ...others } = parts;
  // The password of flowgres_maintenance gives the rights of the owner, so a worker may run without it when
  // another process maintains.
  const maintained = !parts.work || passwords.has('flowgres_maintenance');
  const shutdown = new Shutdown();
  try {
    const http = await startHttp(config);
    shutdown.add(() => http.close(0));
    const { poolerUrl, accessLog, api, vaultKeys, publicUrl } = config;
    const options = {
      http,
      databaseUrl,
      poolerUrl,
      passwords,
      trust: config,
      accessLog,
      api,
      vaultKeys,
      publicUrl,
      intake: config,
      ...others,
    };
    const { startServices } = await import('./services.ts');
    const pages = parts.serve && api.console ? await consoleOrProblem() : null;
    const services = await startServices({ ...options, console: pages, ...(wanted && maintained ? { maintain: wanted } : {}) });
    shutdown.add(() => services.stop());
    log.info(`${what} on ${http.url}`);
    if (!maintained) log.info(MAINTENANCE_ELSEWHERE);
    if (parts.work && !config.mail) log.info(MAILS_STAY);
    await shutdown.requested;
  } finally {
    await shutdown.run();
  }
}

/** Returns the folder of the console. A server without it serves all else. */
async function consoleOrProblem(): Promise<string | null> {
  try {
    return await buildConsole();
  } catch (error) {
    reportProblem('The console was not built; the server runs without it.', error);
    return null;
  }
}

/** `flowgres serve` and `flowgres work`: the processes of an installation that has its own database. One may be both. */
import { type Config, requireDatabaseUrl, roleSecret } from '../config.ts';
import { startHttp } from '../server/http.ts';
import { type ServiceOptions, startServices } from '../services.ts';
import { Shutdown } from './shutdown.ts';
import { MAILS_STAY } from './terminal.ts';

export async function serve(config: Config, options: { work?: boolean | undefined } = {}): Promise<void> {
  if (options.work) await runProcess(config, { serve: true, work: config }, 'GraphQL, webhooks and a worker');
  else await runProcess(config, { serve: true }, 'GraphQL and webhooks');
}

export async function work(config: Config): Promise<void> {
  await runProcess(config, { serve: false, work: config }, 'A worker');
}

async function runProcess(config: Config, parts: Pick<ServiceOptions, 'serve' | 'work'>, what: string): Promise<void> {
  const databaseUrl = requireDatabaseUrl(config);
  const secret = roleSecret(config, databaseUrl);
  const shutdown = new Shutdown();
  try {
    const http = await startHttp(config);
    shutdown.add(() => http.close(0));
    const { poolerUrl, accessLog, api } = config;
    const services = await startServices({ http, databaseUrl, poolerUrl, secret, trust: config, accessLog, api, ...parts });
    shutdown.add(() => services.stop());
    console.log(`${what} on ${http.url}`);
    if (parts.work && !config.mail) console.log(MAILS_STAY);
    await shutdown.requested;
  } finally {
    await shutdown.run();
  }
}

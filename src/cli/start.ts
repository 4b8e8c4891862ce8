/** `flowgres start`: all parts in one process, with an embedded PostgreSQL server when no database is given. */
import { join } from 'node:path';
import { type Config, rolePasswords } from '../config.ts';
import { withDatabase } from '../database/connections.ts';
import { buildConsole } from './console.ts';
import { type Demo, type DemoRun, prepareDemo, runDemo } from './demo.ts';
import { type EmbeddedServer, startEmbedded } from '../database/embedded.ts';
import { type DataFolder, openFolder } from './folder.ts';
import { migrate } from '../database/migrate.ts';
import { type HttpServer, startHttp } from '../http/server.ts';
import { Shutdown } from './shutdown.ts';
import { MAILS_STAY, progress } from './terminal.ts';
import { describeRun } from './timeline.ts';
import { type KeySource, createKeyFile } from '../vault/keys.ts';

const DATABASE = 'flowgres';
/** The master keys of secrets, in the data folder, when no setting says where they are. */
const KEY_FILE = 'vault-keys.json';
/** Server settings that suit a laptop. */
const SETTINGS = { shared_buffers: '128MB', max_wal_size: '1GB', max_connections: '100', wal_compression: 'on' };

/** `flowgres start`. Resolves when the process was asked to stop and has stopped. */
export async function start(config: Config): Promise<void> {
  const shutdown = new Shutdown();
  try {
    await boot(config, shutdown);
    await shutdown.requested;
  } finally {
    await shutdown.run();
  }
}

async function boot(config: Config, shutdown: Shutdown): Promise<void> {
  const folder = await openFolder(config.dataFolder);
  shutdown.add(() => folder.release());
  const http = await startHttp(config);
  shutdown.add(() => http.close(0));

  console.log('Flowgres');
  const adminUrl = config.databaseUrl ?? (await startServer(folder, shutdown));
  const passwords = rolePasswords(config, adminUrl);
  // No other process uses this embedded server, so a downgrade is safe.
  await progress('Schema', 'up to date', () => migrate(adminUrl, passwords, { downgrade: !config.databaseUrl }));
  shutdown.check();
  const { poolerUrl, accessLog, api } = config;
  const pages = api.console ? await progress('Console', 'built', buildConsole) : null;
  shutdown.check();
  const work = { ...config, httpAllow: [...config.httpAllow, new URL(http.url).host] };
  const options = {
    http,
    databaseUrl: adminUrl,
    poolerUrl,
    passwords,
    serve: true,
    trust: config,
    accessLog,
    api,
    publicUrl: config.publicUrl ?? http.url,
    vaultKeys: config.vaultKeys ?? (await ownKeys(folder)),
    work,
    maintain: config,
    console: pages,
    demo: true,
  };
  // Loaded late, so that a start that fails does so at once.
  const services = await progress('Services', 'running', async () => (await import('./services.ts')).startServices(options));
  shutdown.add(() => services.stop());
  shutdown.check();
  const count = ({ workflows }: Demo) => `${workflows} workflows`;
  const demo = await progress('Demo organization', count, () => prepareDemo(adminUrl, http.url, folder.state.token));
  await folder.save({ token: demo.token });
  shutdown.check();
  // Skip the demo run in a copy that nobody has adopted: without a worker it would not end.
  const run = services.copyProblem === null ? await progress('Demo run', 'done', () => runDemo(adminUrl, demo)) : undefined;
  shutdown.check();
  console.log(run ? `\n${describeRun('order-intake', run)}\n` : `\n${services.copyProblem}\n`);
  await folder.publish(connection(adminUrl, http, demo));
  console.log(guide(adminUrl, http, demo, run));
  if (!config.mail) console.log(MAILS_STAY);
}

async function ownKeys(folder: DataFolder): Promise<KeySource> {
  const file = join(folder.path, KEY_FILE);
  await createKeyFile(file);
  return { file };
}

async function startServer(folder: DataFolder, shutdown: Shutdown): Promise<string> {
  const { password, databasePort: port } = folder.state;
  const options = { folder: folder.path, password, settings: SETTINGS, ...(port ? { port } : {}) };
  const where = (server: EmbeddedServer) => `listening on 127.0.0.1:${server.port}`;
  const server = await progress('PostgreSQL', where, () => startEmbedded(options));
  shutdown.add(() => server.stop());
  await folder.save({ databasePort: server.port });
  // Loaded while the database works on its schema: GraphQL takes a second.
  void import('./services.ts');
  return withDatabase(server.url, DATABASE);
}

function connection(databaseUrl: string, http: HttpServer, demo: Demo): Record<string, unknown> {
  return {
    databaseUrl,
    graphqlUrl: `${http.url}/graphql`,
    webhookUrl: `${http.url}/hooks/${demo.webhookKey}`,
    healthUrl: `${http.url}/healthz`,
    metricsUrl: `${http.url}/metrics`,
    token: demo.token,
    organizationId: demo.organizationId,
    pid: process.pid,
  };
}

function guide(databaseUrl: string, http: HttpServer, demo: Demo, run: DemoRun | undefined): string {
  const hook = `${http.url}/hooks/${demo.webhookKey}`;
  const order = JSON.stringify({
    id: 'A-1002',
    customer: { email: 'grace@example.com' },
    items: [{ sku: 'KB-01', quantity: 1, amount: 89.9 }],
  });
  const query = JSON.stringify({
    query: `{ workflowRun(id: "${run?.id ?? '<id>'}") { status events { nodes { seq ts type payload } } } }`,
  });
  return `Flowgres is ready. Ctrl-C stops it; the data stays.

  Console   ${http.url}/#token=${demo.token}
  GraphQL   ${http.url}/graphql   (Ruru, to try it: ${http.url}/graphiql)
  Webhooks  ${hook}/<path>
  Health    ${http.url}/healthz   ${http.url}/readyz
  Metrics   ${http.url}/metrics
  Token     ${demo.token}
  psql      psql '${databaseUrl}'

Send an order; the answer is the workflow's result:

curl -sS '${hook}/orders' -H 'content-type: application/json' -d '${order}'

Read the events of the run above:

curl -sS '${http.url}/graphql' -H 'content-type: application/json' -H 'authorization: Bearer ${demo.token}' -d '${query}'
`;
}

/** Defines the command line: commands, options and help. */
import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { addApiCommands } from './api_commands.ts';
import type { ArchiveFlags, RestoreFlags } from './archive.ts';
import { type Config, readConfig } from '../config.ts';
import { logJson } from '../log.ts';
import { ownSources } from '../database/sources.ts';
import type { SealFlags } from './seal.ts';
import { Interrupted } from './shutdown.ts';
import { describeError } from '../database/describe_error.ts';
import { API_SCHEMA } from '../database/api_schema.ts';

const port = new Option('-p, --port <number>', 'HTTP port, 0 for any free one (PORT, default 8080)');
const host = new Option('--host <address>', 'address to listen on (HOST, default 127.0.0.1)');
const data = new Option('--data <folder>', 'folder of the embedded server (FLOWGRES_DATA, default .flowgres)');
const databaseUrl = new Option('--database-url <url>', 'PostgreSQL server (DATABASE_URL)');
const concurrency = new Option('--concurrency <number>', 'steps that are in flight at a time (FLOWGRES_CONCURRENCY, default 2000)');
const alsoWork = new Option('--work', 'runs the steps of workflows, too');
const output = new Option('-o, --output <file>', 'file to write').default('schema.graphql');
const period = new Option('--period <time>', 'a month or a day in the period, such as 2025-01');
const tableName = new Option('--table <name>', 'the table that the others leave with').default(`${API_SCHEMA}.workflow_runs`);
const jobs = new Option('--jobs <file>', 'where the jobs are written before anything is changed').default('cron-jobs.json');

interface Flags {
  port?: string;
  host?: string;
  data?: string;
  databaseUrl?: string;
  concurrency?: string;
  work?: boolean;
  output?: string;
  jobs?: string;
}

/** Commands that read `sql/`. They read it before anything else, since an upgrade may replace the files later. */
const READ_SOURCES = new Set(['start', 'migrate', 'serve', 'work', 'maintain']);

const program = new Command('flowgres')
  .description('Workflow automation inside PostgreSQL.')
  .version(version(), '-V, --version')
  .hook('preAction', (_, action) => {
    if (logFormatOf(action.name()) === 'json') logJson(action.name());
    if (READ_SOURCES.has(action.name())) ownSources();
  })
  .showHelpAfterError('Run with --help to see how it is used.')
  .addHelpText(
    'after',
    `
Settings come from the environment; an option overrides its variable.
  FLOWGRES_API_PASSWORD, FLOWGRES_INTAKE_PASSWORD, FLOWGRES_WORKER_PASSWORD, FLOWGRES_MAINTENANCE_PASSWORD, FLOWGRES_MONITOR_PASSWORD
                        passwords of the roles that a process logs in as; \`migrate\` gives all of them to the roles
  FLOWGRES_SECRET       what the passwords that are not set derive from (default: the administrator's password)
  FLOWGRES_POOLER_URL   a pgbouncer in transaction mode that GraphQL requests go through
  FLOWGRES_CRON_USERS   users whose cron jobs a worker runs, with connection strings: {"reports": "postgres://reports:…@db/flowgres"}
  FLOWGRES_ORGANIZATION_CONCURRENCY
                        how many of these steps one organization may have, where there are others (default 200)
  FLOWGRES_CRON_TIMEOUT longest time for the command of a cron job, in seconds (default 0: none)
  FLOWGRES_SMTP_URL     where e-mails go: smtp://user:password@mail.example.com:587; without it they stay in the outbox
  FLOWGRES_MAIL_FROM    their sender, such as "Acme <flowgres@acme.example>"
  FLOWGRES_JWT_JWKS_URL, FLOWGRES_JWT_SECRET, FLOWGRES_JWT_ISSUER, FLOWGRES_JWT_AUDIENCE
                        an identity provider whose tokens are accepted: its keys or its HS256 secret, and what its tokens say
  FLOWGRES_VAULT_KEYS   the file with the master keys of secrets, made by \`flowgres keys create\`; or
  FLOWGRES_VAULT_KEYS_COMMAND
                        a command that prints them, such as one that asks a key management service
  FLOWGRES_LOG_FORMAT   json or text (default: json for serve, work and maintain)
  FLOWGRES_PROXIES      proxies in front of it, whose X-Forwarded-For is believed (default 0)
  FLOWGRES_HTTP_ALLOW   private addresses that httpRequest may reach, for example crm.internal:443,10.0.0.7:8080

Examples:
  flowgres start                                        everything in one process, with a server of its own
  PORT=0 FLOWGRES_DATA=/tmp/try flowgres start          the same beside another one
  DATABASE_URL=postgres://postgres:secret@db/flowgres flowgres migrate
  DATABASE_URL=postgres://db/flowgres flowgres serve --host 0.0.0.0
  DATABASE_URL=postgres://db/flowgres flowgres work --concurrency 50`,
  );

command('start', 'runs everything in one process: a PostgreSQL server if none is given, GraphQL, webhooks and a worker', [
  port,
  host,
  data,
  databaseUrl,
  concurrency,
])
  .addHelpText(
    'after',
    '\nExamples:\n  flowgres start\n  flowgres start --port 0 --data /tmp/try\n  flowgres start --database-url postgres://postgres:secret@127.0.0.1:5432/flowgres',
  )
  .action(async (flags: Flags) => (await import('./start.ts')).start(configure(flags)));

command('migrate', 'brings the database to the schema of this build: roles, database, queue, migrations, functions', [databaseUrl])
  .option('--downgrade', 'puts the functions of this build in place of those of a later build of the same release')
  .addHelpText(
    'after',
    '\nNeeds a superuser, or on PostgreSQL 16 and newer a role with CREATEROLE and CREATEDB.\n\nExample:\n  flowgres migrate --database-url postgres://postgres:secret@127.0.0.1:5432/flowgres',
  )
  .action(async (flags: Flags & { downgrade?: boolean }) => (await import('./migrate.ts')).migrateCommand(configure(flags), flags));

command('roles', 'creates the roles of a server and sets their passwords (part of migrate)', [databaseUrl])
  .addHelpText('after', '\nExample:\n  flowgres roles --database-url postgres://postgres:secret@127.0.0.1:5432/flowgres')
  .action(async (flags: Flags) => (await import('./migrate.ts')).rolesCommand(configure(flags)));

command('serve', 'serves GraphQL and webhooks', [port, host, databaseUrl, alsoWork, concurrency])
  .addHelpText(
    'after',
    '\nExamples:\n  DATABASE_URL=postgres://db/flowgres flowgres serve --host 0.0.0.0 --port 8080\n  DATABASE_URL=postgres://db/flowgres flowgres serve --work\n\nLogs in as flowgres_api, flowgres_intake and flowgres_monitor.',
  )
  .action(async (flags: Flags) => (await import('./serve.ts')).serve(configure(flags), { work: flags.work }));

command('work', 'runs the steps of workflows; start as many as needed', [port, host, databaseUrl, concurrency])
  .addHelpText(
    'after',
    '\nIts HTTP port answers /healthz, /readyz and /metrics only.\nLogs in as flowgres_worker and flowgres_monitor, and with FLOWGRES_MAINTENANCE_PASSWORD does the work of `flowgres maintain`, too.\n\nExample:\n  DATABASE_URL=postgres://db/flowgres flowgres work --port 0',
  )
  .action(async (flags: Flags) => (await import('./serve.ts')).work(configure(flags)));

command('maintain', 'runs the scheduled SQL commands and cares for partitions; one process is enough', [port, host, databaseUrl])
  .addHelpText(
    'after',
    '\nIts HTTP port answers /healthz, /readyz and /metrics only.\nLogs in as flowgres_maintenance, flowgres_worker and flowgres_monitor.\n\nExample:\n  DATABASE_URL=postgres://db/flowgres flowgres maintain --port 0',
  )
  .action(async (flags: Flags) => (await import('./serve.ts')).maintain(configure(flags)));

command('schema', 'writes the GraphQL schema of a database to a file', [databaseUrl, output])
  .addHelpText('after', '\nExample:\n  flowgres schema --output schema.graphql')
  .action(async (flags: Flags) => (await import('./schema.ts')).exportSchema(configure(flags), flags.output!));

const verify = program.command('verify').description('checks of an installation');
command('partitions', 'checks that the event log is partitioned and works; leaves nothing behind', [databaseUrl, data], verify)
  .addHelpText(
    'after',
    '\nNeeds an administrator. Exits with 1 if any check fails.\n\nExamples:\n  flowgres verify partitions\n  flowgres verify partitions --database-url postgres://postgres:secret@db/flowgres',
  )
  .action(async (flags: Flags) => (await import('./partitions.ts')).verifyCommand(configure(flags)));

const partitions = program.command('partitions').description('care of partitioned tables');
command('freeze', 'freezes the partitions that nobody writes any more, each once', [databaseUrl], partitions)
  .addHelpText(
    'after',
    '\nWorkers do it too, once an hour.\n\nExample:\n  DATABASE_URL=postgres://db/flowgres FLOWGRES_MAINTENANCE_PASSWORD=… flowgres partitions freeze',
  )
  .action(async (flags: Flags) => (await import('./partitions.ts')).freezeCommand(configure(flags)));
command('index', 'builds an index on a partitioned table while it is written', [databaseUrl], partitions)
  .argument('<table>', 'the partitioned table, such as public.workflow_events')
  .argument('<name>', 'name of the index')
  .argument('<definition>', "what follows the table's name in CREATE INDEX")
  .option('--unique', 'a unique index')
  .addHelpText(
    'after',
    "\nInterrupted, run it again: it goes on with what is missing.\n\nExample:\n  flowgres partitions index public.workflow_events workflow_events_seq_idx '(run_id, seq)'",
  )
  .action(async (table: string, name: string, definition: string, flags: Flags & { unique?: boolean }) =>
    (await import('./partitions.ts')).indexCommand(configure(flags), { table, name, definition, unique: flags.unique ?? false }),
  );

command('hash', 'reads a password from standard input and prints its hash, for the SQL functions that take one', [])
  .addHelpText('after', '\nExample:\n  flowgres hash < password.txt')
  .action(async () => (await import('./hash.ts')).hashCommand());

command(
  'seal',
  'reads the data of a credential, or a secret variable, from standard input and prints its envelope, for the SQL functions that take one',
  [],
)
  .requiredOption('--organization <uuid>', 'the organization that the credential is of')
  .requiredOption('--type <name>', 'the type of the credential, such as bearer')
  .option('--id <uuid>', 'the credential; a new id when not given')
  .option('--secret-version <number>', 'one more than the current version of the credential', '1')
  .addHelpText('after', '\nExample:\n  echo \'{"token": "…"}\' | flowgres seal --organization 0190… --type bearer')
  .action(async (flags: SealFlags) => (await import('./seal.ts')).sealCommand(configure({}), flags));

const keys = program.command('keys').description('the master keys of secrets');
command('create', 'makes a key file with one key, readable by its owner only', [], keys)
  .argument('<file>', 'the file; one that exists stays as it is')
  .addHelpText('after', '\nExample:\n  flowgres keys create /etc/flowgres/vault-keys.json')
  .action(async (file: string) => (await import('./keys.ts')).createCommand(file));
command('list', 'shows the keys, and how many secrets each wraps', [databaseUrl], keys)
  .addHelpText('after', '\nExits with 1 when a key is missing from the key ring.\n\nExample:\n  flowgres keys list')
  .action(async (flags: Flags) => (await import('./keys.ts')).listCommand(configure(flags)));
command('rotate', 'makes a new key and wraps all secrets with it', [databaseUrl], keys)
  .option('--keep', 'makes no new key: goes on with the current one')
  .option('--prune', 'removes the keys that no secret needs any more')
  .addHelpText(
    'after',
    '\nInterrupted, run it again with --keep. Processes that run read the key file again by themselves.\n\nExamples:\n  flowgres keys rotate\n  flowgres keys rotate --keep --prune',
  )
  .action(async (flags: Flags & { keep?: boolean; prune?: boolean }) => (await import('./keys.ts')).rotateCommand(configure(flags), flags));

command('archive', 'lets old periods leave the log: into tables of schema partitions, from there into files', [
  databaseUrl,
  period,
  tableName,
  new Option('--to <folder>', 'write the archived tables to files, read them back, and drop the tables'),
  new Option('--format <format>', 'of the files: csv, or ndjson (compressed)').choices(['csv', 'ndjson']).default('csv'),
  new Option('--keep-tables', 'do not drop the tables when the files are written'),
])
  .addHelpText(
    'after',
    `
Without --period, all periods that the retention rules with on_retire = 'archive' retire are archived, and all archived
tables are written. Interrupted at any point, it goes on when it is run again.

Examples:
  flowgres archive --period 2025-01                          runs and events of January to tables in schema partitions
  flowgres archive --period 2025-01 --to /mnt/archive        the same to CSV files with a manifest
  flowgres archive --to /mnt/archive --format ndjson         what the retention rules retire, to compressed JSON`,
  )
  .action(async (flags: Flags & ArchiveFlags) => (await import('./archive.ts')).archiveCommand(configure(flags), flags));

command('restore', 'brings an archived period back, from its files or from schema partitions', [
  databaseUrl,
  period,
  tableName,
  new Option('--keep <interval>', 'how long it stays before it may leave again').default('30 days'),
])
  .argument('[folder]', 'the folder with the manifest; without it the period comes from tables')
  .addHelpText(
    'after',
    `
The files are verified before anything is loaded.

Examples:
  flowgres restore --period 2025-01                          from the tables in schema partitions
  flowgres restore /mnt/archive/workflow_runs_y2025m01       from files
  flowgres restore /mnt/archive/workflow_runs_y2025m01 --keep '7 days'`,
  )
  .action(async (folder: string | undefined, flags: Flags & RestoreFlags) =>
    (await import('./archive.ts')).restoreCommand(configure(flags), folder, flags),
  );

const cron = program.command('cron').description('the scheduler of SQL commands');
command('handover', 'replaces the scheduler of Flowgres by the extension pg_cron, with all jobs', [databaseUrl, jobs], cron)
  .addHelpText(
    'after',
    '\nNeeds a superuser. Either all jobs are handed over, or nothing is changed.\n\nExample:\n  flowgres cron handover --database-url postgres://postgres:secret@db/flowgres',
  )
  .action(async (flags: Flags) => (await import('./cron.ts')).handover(configure(flags), flags.jobs!));

addApiCommands(program);

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof Interrupted)) {
    console.error(`flowgres: ${describeError(error)}`);
    process.exitCode = 1;
  }
}

/** `serve`, `work` and `maintain` log JSON for log collectors; the other commands log text for people. */
function logFormatOf(name: string): string {
  return process.env['FLOWGRES_LOG_FORMAT'] || (['serve', 'work', 'maintain'].includes(name) ? 'json' : 'text');
}

function command(name: string, description: string, options: Option[], parent = program): Command {
  const made = parent.command(name).description(description);
  for (const option of options) made.addOption(option);
  return made;
}

function configure(flags: Flags): Config {
  return readConfig({
    ...process.env,
    ...(flags.port === undefined ? {} : { PORT: flags.port }),
    ...(flags.host === undefined ? {} : { HOST: flags.host }),
    ...(flags.data === undefined ? {} : { FLOWGRES_DATA: flags.data }),
    ...(flags.databaseUrl === undefined ? {} : { DATABASE_URL: flags.databaseUrl }),
    ...(flags.concurrency === undefined ? {} : { FLOWGRES_CONCURRENCY: flags.concurrency }),
  });
}

function version(): string {
  return (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version;
}

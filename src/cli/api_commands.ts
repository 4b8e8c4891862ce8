/** Defines the commands that talk to an installation over HTTP: workflows from files, and runs. */
import { Option } from 'commander';
import type { Command } from 'commander';
import type { DeployFlags } from './deploy.ts';
import type { RunFlags } from './runs.ts';

const url = new Option('--url <url>', 'address of the installation (FLOWGRES_URL)');
const project = new Option('--project <name>', 'the project that the files are all of (default: default)');
const CONNECTION = `
FLOWGRES_TOKEN is an API token; it decides the organization. Without FLOWGRES_URL the installation of the
\`flowgres start\` that runs in this folder is meant.`;

/** Adds the commands to the program. */
export function addApiCommands(program: Command): void {
  const add = (name: string, description: string, options: Option[], examples: string) => {
    const made = program.command(name).description(description);
    for (const option of options) made.addOption(option);
    return made.addHelpText('after', `${CONNECTION}\n\n${examples}`);
  };

  add(
    'apply',
    'makes workflows and variables what the files of a folder say, in one transaction',
    [
      url,
      project,
      new Option('--dry-run', 'only says what would change; exits with 2 if something would'),
      new Option('--prune', 'archives workflows of the project that have no file'),
      new Option('--message <text>', 'what changed, for the versions that are published'),
    ],
    'Examples:\n  flowgres apply workflows\n  flowgres apply workflows --dry-run --prune\n  FLOWGRES_URL=https://flowgres.example.com FLOWGRES_TOKEN=… flowgres apply workflows --message "$(git log -1 --format=%s)"',
  )
    .argument('<folder>', 'the folder with the files')
    .action(async (folder: string, flags: DeployFlags) => (await import('./deploy.ts')).applyCommand(folder, flags));

  add(
    'diff',
    'says what applying a folder would change; exits with 2 if something would',
    [url, project, new Option('--prune', 'as of apply')],
    'Example:\n  flowgres diff workflows',
  )
    .argument('<folder>', 'the folder with the files')
    .action(async (folder: string, flags: DeployFlags) => (await import('./deploy.ts')).applyCommand(folder, { ...flags, dryRun: true }));

  add(
    'export',
    'writes each workflow to a file, and the variables that are not secret',
    [url, new Option('--project <name>', 'only the workflows of this project')],
    'Example:\n  flowgres export workflows',
  )
    .argument('<folder>', 'the folder to write to')
    .action(async (folder: string, flags: DeployFlags) => (await import('./deploy.ts')).exportCommand(folder, flags));

  add(
    'run',
    'starts a run and prints its output',
    [
      url,
      new Option('--input <file>', 'the input as JSON; - is standard input'),
      new Option('--key <text>', 'idempotency key: the same key starts one run only'),
      new Option('--follow', 'prints events until the run has ended; exits with 1 if it fails'),
    ],
    'Example:\n  flowgres run order-intake --input examples/order-intake.input.json --follow',
  )
    .argument('<workflow>', 'name or id of the workflow')
    .action(async (workflow: string, flags: RunFlags) => (await import('./runs.ts')).runCommand(workflow, flags));

  add(
    'runs',
    'lists runs, the newest first',
    [
      url,
      new Option('--workflow <name>', 'name or id of the workflow'),
      new Option('--status <status>', 'waiting, running, paused, success, error or canceled'),
      new Option('--limit <number>', 'how many, at most 200 (default 20)'),
    ],
    'Example:\n  flowgres runs --workflow order-intake --status error',
  ).action(async (flags: RunFlags) => (await import('./runs.ts')).runsCommand(flags));

  add(
    'logs',
    'prints what a run has logged',
    [url, new Option('--follow', 'goes on until the run has ended')],
    'Example:\n  flowgres logs 0190f3a0-0000-7000-8000-000000000000 --follow',
  )
    .argument('<run>', 'the id of the run')
    .action(async (run: string, flags: RunFlags) => (await import('./runs.ts')).logsCommand(run, flags));
}

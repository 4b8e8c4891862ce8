/** Runs the `flowgres` command line as a separate process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, vi } from 'vitest';
import { roomyFolder } from './server.ts';

/** Path of the entry point. */
export const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

/** A running command. */
export interface Cli {
  child: ChildProcess;
  /** Returns everything printed so far. */
  output(): string;
  /** Resolves to the exit code. */
  exited: Promise<number | null>;
}

/** The content of connection.json, which `flowgres start` writes when it is ready. */
export interface Connection {
  databaseUrl: string;
  graphqlUrl: string;
  webhookUrl: string;
  healthUrl: string;
  metricsUrl: string;
  token: string;
  organizationId: string;
  pid: number;
}

/**
 * Starts a command and ends it with the test. `program` is Node with its script; this Node and the sources when
 * not given.
 */
export function runCli(args: string[], environment: Record<string, string> = {}, program?: string[]): Cli {
  const cli = spawnCli(args, environment, program);
  onTestFinished(() => endCli(cli));
  return cli;
}

/** Ends a command. */
export async function endCli({ child, exited }: Cli): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
  await exited;
}

/** Starts a command that outlives a test: {@link endCli} ends it. */
export function spawnCli(args: string[], environment: Record<string, string> = {}, program = [process.execPath, MAIN]): Cli {
  const { DATABASE_URL: _, ...inherited } = process.env;
  const [file, ...before] = program;
  const child = spawn(file!, [...before, ...args], { env: { ...inherited, HOST: '127.0.0.1', PORT: '0', ...environment } });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => (text += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk) => (text += chunk));
  const exited = once(child, 'close').then(([code]) => code as number | null);
  return { child, output: () => text, exited };
}

/** Runs a command to its end. Resolves to its output and exit code. */
export async function finishCli(
  args: string[],
  environment: Record<string, string> = {},
  program?: string[],
): Promise<{ code: number | null; output: string }> {
  const cli = runCli(args, environment, program);
  return { code: await cli.exited, output: cli.output() };
}

/** Waits until `flowgres start` with this data folder is ready. */
export async function ready(cli: Cli, folder: string): Promise<Connection> {
  return vi.waitUntil(
    async () => {
      expect(cli.child.exitCode, cli.output()).toBeNull();
      const text = await readFile(join(folder, 'connection.json'), 'utf8').catch(() => undefined);
      if (!text) return undefined;
      const connection = JSON.parse(text) as Connection;
      return connection.pid === cli.child.pid ? connection : undefined;
    },
    { timeout: 60_000, interval: 50 },
  );
}

/** Creates a data folder; what runs in it is stopped and it is removed when the test ends. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(await roomyFolder(), `flowgres-test-${process.pid}-cli-`));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

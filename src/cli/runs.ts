/** `flowgres run`, `runs` and `logs`: runs from the command line. */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { ApiClient, readConnection } from '../deploy/client.ts';
import { FlowgresError } from '../errors.ts';
import { parseJson } from '../json/json.ts';
import { table } from './terminal.ts';

/** How often `logs --follow` asks for further lines, in milliseconds. */
const POLL_MS = 1_000;
const PAGE = 200;

/** Options of the commands. */
export interface RunFlags {
  url?: string;
  input?: string;
  key?: string;
  follow?: boolean;
  workflow?: string;
  status?: string;
  limit?: string;
}

const run = z.object({
  id: z.string(),
  workflow: z.string(),
  version: z.number(),
  status: z.string(),
  startedAt: z.string(),
  finishedAt: z.string().nullable(),
  error: z.looseObject({ code: z.string(), message: z.string() }).nullable(),
});
const fullRun = run.extend({ output: z.unknown() });
const event = z.object({ seq: z.number(), ts: z.string(), type: z.string(), payload: z.looseObject({ node: z.string().optional() }) });
const logPage = z.object({
  logs: z.array(z.object({ id: z.number(), ts: z.string(), level: z.string(), node: z.string().nullable(), message: z.string() })),
  isFinished: z.boolean(),
});

/** Starts a run and prints its output, with `follow` each event before. Exits with 1 when the run fails. */
export async function runCommand(workflow: string, { url, input, key, follow }: RunFlags): Promise<void> {
  const client = new ApiClient(await readConnection(process.env, url));
  const id = await workflowId(client, workflow);
  const value = input === undefined ? {} : await readInput(input);
  const headers: Record<string, string> = key ? { 'idempotency-key': key } : {};
  let made = await client.call(fullRun, 'POST', `/api/v1/workflows/${id}/runs`, { input: value }, headers);
  console.error(`${made.workflow} ${made.id}: ${made.status}`);
  if (follow) {
    await client.follow(made.id, (each) => console.error(describeEvent(event.parse(each))));
    made = await client.call(fullRun, 'GET', `/api/v1/runs/${made.id}`);
  }
  if (made.error) console.error(`${made.error.code}: ${made.error.message}`);
  if (made.status === 'success') console.log(JSON.stringify(made.output, null, 2));
  if (made.status === 'error' || made.status === 'canceled') process.exitCode = 1;
}

/** Lists runs, the newest first. */
export async function runsCommand({ url, workflow, status, limit = '20' }: RunFlags): Promise<void> {
  const client = new ApiClient(await readConnection(process.env, url));
  const query = new URLSearchParams({ limit, ...(status ? { status } : {}) });
  if (workflow) query.set('workflowId', await workflowId(client, workflow));
  const { runs } = await client.call(z.object({ runs: z.array(run) }), 'GET', `/api/v1/runs?${query}`);
  const rows = runs.map((each) => [each.id, each.workflow, each.status, each.startedAt, each.error?.code ?? '']);
  console.log(rows.length ? table(['run', 'workflow', 'status', 'started', 'error'], rows) : 'No run.');
}

/** Prints what a run has logged, with `follow` until it has ended. */
export async function logsCommand(id: string, { url, follow }: RunFlags): Promise<void> {
  const client = new ApiClient(await readConnection(process.env, url));
  for (let after = 0; ; ) {
    const { logs, isFinished } = await client.call(logPage, 'GET', `/api/v1/runs/${id}/logs?after=${after}&limit=${PAGE}`);
    for (const { ts, level, node, message } of logs) console.log(`${ts} ${level.padEnd(7)} ${node ? `${node}: ` : ''}${message}`);
    after = logs.at(-1)?.id ?? after;
    if (logs.length === PAGE) continue;
    if (!follow || isFinished) return;
    await delay(POLL_MS);
  }
}

function describeEvent({ seq, ts, type, payload }: z.infer<typeof event>): string {
  return `${String(seq).padStart(4)}  ${ts}  ${type}${payload.node ? `  ${payload.node}` : ''}`;
}

/** Finds a workflow by its id or its name. Throws NOT_FOUND, and CONFLICT when several have the name. */
async function workflowId(client: ApiClient, workflow: string): Promise<string> {
  if (z.guid().safeParse(workflow).success) return workflow;
  const shape = z.object({ workflows: z.array(z.object({ id: z.string() })) });
  const { workflows } = await client.call(shape, 'GET', `/api/v1/workflows?${new URLSearchParams({ name: workflow })}`);
  if (workflows.length > 1)
    throw new FlowgresError('CONFLICT', `${workflows.length} workflows have the name ${workflow}.`, { hint: 'Name it by its id.' });
  if (!workflows[0]) throw new FlowgresError('NOT_FOUND', `There is no workflow ${workflow}.`);
  return workflows[0].id;
}

async function readInput(file: string): Promise<unknown> {
  const text = await readFile(file === '-' ? '/dev/stdin' : file, 'utf8').catch((error: unknown) => {
    throw new FlowgresError('INVALID_FILES', `${file} cannot be read.`, { cause: error });
  });
  try {
    return parseJson(text);
  } catch (error) {
    throw new FlowgresError('INVALID_FILES', `${file} is not JSON.`, { cause: error });
  }
}

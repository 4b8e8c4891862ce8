/** `flowgres apply`, `diff` and `export`: workflows from files, and into files. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ApiClient, readConnection } from '../deploy/client.ts';
import { type Folder, readFolder, refuse } from '../deploy/files.ts';
import { FlowgresError } from '../errors.ts';
import { table } from './terminal.ts';

/** Exit code of `diff` and `apply --dry-run` when something would change. */
const CHANGES = 2;

/** Options of the commands. */
export interface DeployFlags {
  url?: string;
  project?: string;
  prune?: boolean;
  dryRun?: boolean;
  message?: string;
}

const change = z.object({
  kind: z.string(),
  name: z.string(),
  action: z.string(),
  fields: z.array(z.string()),
  version: z.number().nullable(),
});
type Change = z.infer<typeof change>;
const changes = z.object({ changes: z.array(change) });
const exported = z.object({
  documents: z.array(
    z.object({
      name: z.string(),
      description: z.string().nullable(),
      tags: z.array(z.string()),
      definition: z.record(z.string(), z.unknown()),
    }),
  ),
  variables: z.record(z.string(), z.unknown()),
});
const problem = z.object({ workflow: z.string(), pointer: z.string(), message: z.string() });

/** Applies a folder, or says with `dryRun` what that would change. Sets the exit code: 2 for changes that were not made. */
export async function applyCommand(folder: string, flags: DeployFlags): Promise<void> {
  const client = new ApiClient(await readConnection(process.env, flags.url));
  const content = await readFolder(folder);
  const made = await applyFolder(client, content, flags);
  console.log(describeChanges(made, flags.dryRun ?? false));
  if (flags.dryRun && made.some(({ action }) => action !== 'unchanged')) process.exitCode = CHANGES;
}

/**
 * Applies the content of a folder, or plans it with `dryRun`, and returns the changes.
 *
 * @throws FlowgresError INVALID_FILES with `file:line` for each problem of a definition
 */
async function applyFolder(client: ApiClient, { workflows, variables }: Folder, flags: DeployFlags): Promise<Change[]> {
  const { project, prune, dryRun, message } = flags;
  const body = {
    documents: workflows.map(({ document }) => document),
    variables,
    ...(project ? { project } : {}),
    ...(prune ? { prune } : {}),
    ...(message && !dryRun ? { message } : {}),
  };
  const path = `/api/v1/documents/${dryRun ? 'plan' : 'apply'}`;
  const answer = await client.call(changes, 'POST', path, body).catch((error: unknown) => {
    if (error instanceof FlowgresError) refuse(placesOf(error, workflows));
    throw error;
  });
  return answer.changes;
}

function placesOf({ code, details }: FlowgresError, workflows: Folder['workflows']): string[] {
  const parsed = z.array(problem).safeParse(details?.['problems']);
  if (code !== 'VALIDATION_FAILED' || !parsed.success) return [];
  return parsed.data.map(({ workflow, pointer, message }) => {
    const file = workflows.find(({ document }) => document.name === workflow)?.file;
    return `${file?.path ?? workflow}:${file?.lineOf(pointer) ?? 1}: ${message} (${pointer})`;
  });
}

/** Formats changes as a table with a line that counts them. */
function describeChanges(made: readonly Change[], isPlan: boolean): string {
  const different = made.filter(({ action }) => action !== 'unchanged');
  const counts = ['create', 'change', 'archive'].map((action) => `${made.filter((each) => each.action === action).length} to ${action}`);
  const done = ['created', 'changed', 'archived'].map((word, at) => `${counts[at]!.split(' ', 1)[0]} ${word}`);
  const sum = `${(isPlan ? counts : done).join(', ')}, ${made.length - different.length} unchanged`;
  if (different.length === 0) return `No change: ${made.length} unchanged.`;
  const rows = made.map(({ kind, name, action, fields, version }) => [
    action,
    kind,
    name,
    version === null || isPlan ? '' : `v${version}`,
    fields.join(', '),
  ]);
  return `${table(['action', 'kind', 'name', 'version', 'differs in'], rows)}\n\n${sum}.`;
}

/** Writes every workflow of the organization, or of a project, to a file of its own, and the variables to variables.json. */
export async function exportCommand(folder: string, { url, project }: DeployFlags): Promise<void> {
  const connection = await readConnection(process.env, url);
  const query = project === undefined ? '' : `?${new URLSearchParams({ project })}`;
  const { documents, variables } = await new ApiClient(connection).call(exported, 'GET', `/api/v1/documents${query}`);
  await mkdir(folder, { recursive: true });
  const names = new Set<string>();
  for (const { name, description, tags, definition } of documents) {
    const file = fileNameOf(name, names);
    const more = { ...(description ? { description } : {}), ...(tags.length ? { tags } : {}) };
    const isNamed = file !== `${name}.json`;
    await writeJson(join(folder, file), {
      $schema: `${connection.url}/schema/workflow.json`,
      ...(isNamed ? { name } : {}),
      ...more,
      ...definition,
    });
  }
  if (Object.keys(variables).length) await writeJson(join(folder, 'variables.json'), variables);
  console.log(`Exported ${documents.length} workflows and ${Object.keys(variables).length} variables to ${folder}.`);
}

/** Returns a file name that no other workflow has. */
function fileNameOf(name: string, names: Set<string>): string {
  const plain = name.replaceAll(/[^\p{L}\p{N}._-]+/gu, '-').replaceAll(/^[-.]+|[-.]+$/g, '') || 'workflow';
  const safe = /^variables$|\.(?:test|input|schema)$/i.test(plain) ? `${plain}-workflow` : plain;
  for (let count = 1; ; count += 1) {
    const file = `${safe}${count === 1 ? '' : `-${count}`}.json`;
    if (names.has(file.toLowerCase())) continue;
    names.add(file.toLowerCase());
    return file;
  }
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFile(path, `${JSON.stringify(value, null, 2)}\n`);
}

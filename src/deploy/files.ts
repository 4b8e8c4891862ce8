/** Workflows and variables in files: one JSON or YAML file per workflow, and one of variables. */
import { readFile, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type Document, LineCounter, isScalar, parseDocument, visit } from 'yaml';
import { z } from 'zod';
import { FlowgresError } from '../errors.ts';

/** A workflow as the API takes it. */
export interface WorkflowDocument {
  name: string;
  description?: string | undefined;
  tags?: string[] | undefined;
  definition: Record<string, unknown>;
}

/** A file with its parsed content. */
export interface SourceFile {
  /** Relative to the folder. */
  path: string;
  value: Record<string, unknown>;
  /** The line, from 1 on, of the place that a JSON pointer names, or of the nearest place around it. */
  lineOf(pointer: string): number;
}

/** The content of a folder. */
export interface Folder {
  workflows: { file: SourceFile; document: WorkflowDocument }[];
  variables: Record<string, unknown>;
}

const WORKFLOW = /\.(?:json|ya?ml)$/;
/** Files of other purposes: tests, and inputs of runs. */
const OTHER = /\.(?:test|input|schema)\.(?:json|ya?ml)$/;
const VARIABLES = /^variables\.(?:json|ya?ml)$/;
const SKIPPED = new Set(['node_modules']);

const workflowFile = z.looseObject({
  $schema: z.string().optional(),
  name: z.string().optional(),
  description: z.string().optional(),
  tags: z.array(z.string()).optional(),
  nodes: z.array(z.unknown()),
});

/**
 * Reads a folder and the folders in it; hidden ones and node_modules are left out.
 *
 * @throws FlowgresError INVALID_FILES with a line for each problem, `file:line: what`
 */
export async function readFolder(folder: string): Promise<Folder> {
  const problems: string[] = [];
  const workflows: Folder['workflows'] = [];
  let variables: Record<string, unknown> = {};
  for (const path of await filesIn(folder)) {
    const file = parseSource(path, await readFile(join(folder, path), 'utf8'), problems);
    if (!file) continue;
    if (VARIABLES.test(path)) {
      const { $schema: _, ...values } = file.value;
      variables = values;
      continue;
    }
    const parsed = workflowFile.safeParse(file.value);
    if (!parsed.success) {
      const { path: place, message } = parsed.error.issues[0]!;
      problems.push(`${path}:${file.lineOf(`/${place.join('/')}`)}: ${place.length ? `${place.join('.')}: ` : ''}${message}`);
      continue;
    }
    const { $schema: _, name, description, tags, ...definition } = parsed.data;
    workflows.push({ file, document: { name: name ?? basename(path).replace(WORKFLOW, ''), description, tags, definition } });
  }
  for (const [at, { file, document }] of workflows.entries()) {
    const first = workflows.slice(0, at).find((each) => each.document.name === document.name);
    if (first) problems.push(`${file.path}:${file.lineOf('/name')}: ${first.file.path} has the name ${document.name}, too`);
  }
  refuse(problems);
  return { workflows, variables };
}

/** @throws FlowgresError INVALID_FILES unless there is no problem */
export function refuse(problems: readonly string[]): void {
  if (problems.length === 0) return;
  throw new FlowgresError('INVALID_FILES', `${problems.length} problem(s) in the files:\n${problems.join('\n')}\n`, {
    hint: 'Nothing was changed.',
  });
}

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
    throw new FlowgresError('INVALID_FILES', `There is no folder ${folder}.`, { cause: error });
  });
  return entries
    .filter((entry) => entry.isFile() && WORKFLOW.test(entry.name) && !OTHER.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name).slice(join(folder, '/').length))
    .filter((path) => !path.split('/').some((part) => part.startsWith('.') || SKIPPED.has(part)))
    .sort();
}

/** Parses JSON or YAML; adds what is wrong to `problems` and returns undefined then. */
export function parseSource(path: string, text: string, problems: string[]): SourceFile | undefined {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const [error] = document.errors;
  if (error) {
    problems.push(`${path}:${error.linePos?.[0].line ?? 1}: ${error.message.split('\n', 1)[0]}`);
    return undefined;
  }
  keepDigits(document);
  const value: unknown = document.toJS();
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    problems.push(`${path}:1: the file holds no object`);
    return undefined;
  }
  return { path, value: value as Record<string, unknown>, lineOf: (pointer) => lineOf(document, lines, pointer) };
}

/** Replaces numbers that JavaScript would change, such as 1.50, by their text. */
function keepDigits(document: Document): void {
  visit(document, {
    Scalar(_, node) {
      const { value, source } = node;
      if (typeof value === 'number' && source !== undefined && String(value) !== source && isJsonNumber(source)) {
        node.value = JSON.rawJSON(source);
      }
    },
  });
}

const isJsonNumber = (text: string) => /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(text);

function lineOf(document: Document, lines: LineCounter, pointer: string): number {
  const place = pointer
    .split('/')
    .slice(1)
    .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'))
    .map((key) => (/^\d+$/.test(key) ? Number(key) : key));
  for (let length = place.length; length >= 0; length -= 1) {
    const node = length === 0 ? document.contents : document.getIn(place.slice(0, length), true);
    const range = (node as { range?: [number, number, number] } | null | undefined)?.range;
    if (range) return lines.linePos(range[0]).line;
    if (isScalar(node)) return 1;
  }
  return 1;
}

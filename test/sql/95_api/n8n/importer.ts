/** What the tests of the importer share: a database, an organization, and runs of imported workflows. */
import { beforeAll } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../../../helpers/factory.ts';

export interface Problem {
  pointer: string;
  message: string;
}
export interface Definition {
  nodes: { id: string; type: string; properties: Record<string, unknown>; [key: string]: unknown }[];
  connections: Record<string, string>[];
  settings: Record<string, unknown>;
}
export interface Event {
  type: string;
  payload: { node?: string; output?: unknown; body?: unknown };
}

export let database: TestDatabase;
export let acme: TestOrganization;
/** Makes the database before the tests of a file. */
export function useImporter(): void {
  beforeAll(async () => {
    database = await createTestDatabase();
    acme = await createOrganization(database);
  });
}

/** What the importer makes of a document; nothing is stored. */
export async function definitionOf(doc: unknown): Promise<{ definition: Definition; problems: Problem[] }> {
  const { rows } = await database.admin.query<{ definition: Definition; problems: Problem[] }>('select * from private.n8n_definition($1)', [
    JSON.stringify(doc),
  ]);
  return rows[0]!;
}

export async function importDocument(doc: unknown): Promise<{ id: string; name: string; definition: Definition; problems: Problem[] }> {
  const { rows: imports } = await acme.user.query<{ workflow_id: string; problems: Problem[] }>('select * from import_n8n_workflow($1)', [
    JSON.stringify(doc),
  ]);
  const { workflow_id: id, problems } = imports[0]!;
  const { rows } = await acme.user.query<{ name: string; definition: Definition }>('select name, definition from workflows where id = $1', [
    id,
  ]);
  return { id, problems, ...rows[0]! };
}

/** The events of a run to its end; a slow first call may stop before it. */
export async function run(definition: Definition, input: unknown): Promise<Event[]> {
  for (let attempt = 1; ; attempt += 1) {
    const { rows } = await acme.user.query<Event>('select type, payload from test_workflow($1, $2) order by seq', [
      JSON.stringify(definition),
      JSON.stringify(input),
    ]);
    if (/^run\.(succeeded|failed)$/.test(rows.at(-1)!.type) || attempt === 5) return rows;
  }
}
export const lastNode = (events: Event[]) => events.filter(({ type }) => type === 'step.succeeded').at(-1)?.payload.node;

export async function codesOf(definition: Definition): Promise<string[]> {
  const { rows } = await acme.user.query<{ code: string }>('select code from validate_workflow($1) order by 1', [
    JSON.stringify(definition),
  ]);
  return rows.map(({ code }) => code);
}
export const find = (definition: Definition, id: string) => definition.nodes.find((candidate) => candidate.id === id)!;

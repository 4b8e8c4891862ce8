/** The matrix: a line per object, a column per caller. */
import { type ApiFunction, callSql, isEmpty } from './calls.ts';
import { argumentsOf, requireArguments } from './arguments.ts';
import type { Caller } from './callers.ts';
import { type Exposed, readRows, readTables, SHARED, type World, type Worlds } from './fixture.ts';

export interface Section {
  title: string;
  lines: { object: string; cells: string[]; note?: string }[];
  /** What somebody reached of another organization and must not. */
  reached: string[];
}

/** The power of a super admin over organizations and people, and the part of everybody that is public. */
const RUNS_THE_INSTALLATION = new Set([
  'organizations',
  'users',
  'delete_organization',
  'restore_organization',
  'delete_user',
  'set_global_role',
  'organization',
  'organizationBySlug',
  'user',
]);

/** Say something about the row that they are given, and that is all they know. */
const OF_THE_ROW = new Set([
  'workflow_runs_duration_ms',
  'workflow_runs_events_expired',
  'workflows_is_over_limit',
  'organizations_webhook_key',
]);

export const mayReach = (caller: Caller, object: string): boolean => caller.name === 'super admin' && RUNS_THE_INSTALLATION.has(object);

const TEXTS: Record<string, string> = {
  FORBIDDEN: 'forbidden',
  NOT_FOUND: 'unknown',
  UNAUTHENTICATED: 'log in',
  NO_ORGANIZATION: 'none',
  VALIDATION_FAILED: 'invalid',
  CONFLICT: 'conflict',
  ALREADY_USED: 'used',
  CREDENTIAL_HOST: 'host',
};
export const cellOf = (code: string): string => TEXTS[code] ?? code;

/** Which rows each caller sees. */
export async function readAll(worlds: Worlds, callers: Caller[]): Promise<Section> {
  const tables = await readTables(worlds.db);
  const rows = new Map<World, Map<string, Record<string, unknown>[]>>();
  for (const world of [worlds.acme, worlds.globex]) rows.set(world, await readRows(worlds, tables, world));
  const section: Section = { title: 'Rows that are seen', lines: [], reached: [] };
  for (const table of tables) {
    const cells: string[] = [];
    for (const caller of callers) {
      const seen = await readAs(caller, table);
      if (typeof seen === 'string') cells.push(seen);
      else {
        const theirs = (world: World) => (rows.get(world)!.get(table.name) ?? []).map((row) => JSON.stringify(row));
        const foreign = [worlds.acme, worlds.globex].filter((world) => world !== caller.home);
        const reached = foreign.some((world) => theirs(world).some((row) => seen.has(row))) && !SHARED.has(table.name);
        if (reached && !mayReach(caller, table.name)) section.reached.push(`${caller.name} sees rows of ${table.name}`);
        const own = theirs(caller.home ?? worlds.acme);
        const all = own.every((row) => seen.has(row));
        cells.push(seen.size === 0 ? '-' : reached ? 'everybody’s' : all ? 'all' : 'some');
      }
    }
    const { columns, open } = table;
    const list = (columns ?? []).map((column) => (open.includes(column) ? `${column}*` : column)).join(' ');
    section.lines.push({ object: table.name, cells, note: list });
  }
  return section;
}

async function readAs(caller: Caller, { name }: Exposed): Promise<Set<string> | string> {
  try {
    const { rows } = await caller.session.query<{ row: unknown }>(`select to_jsonb(t) as row from public.${name} as t`);
    return new Set(rows.map(({ row }) => JSON.stringify(row)));
  } catch (error) {
    const { code } = error as { code: string };
    return code === '42501' ? 'no right' : `SQLSTATE ${code}`;
  }
}

/** What each caller may call, with things of the own organization, and with things of another one. */
export async function callAll(worlds: Worlds, callers: Caller[], functions: ApiFunction[]): Promise<Section[]> {
  const own: Section = { title: 'Functions, with what is the own organization’s', lines: [], reached: [] };
  const foreign: Section = { title: 'Functions, with what is another organization’s', lines: [], reached: [] };
  requireArguments(functions);
  const outcomes = new Map<Caller, { own: string; foreign: string }[]>();
  for (const caller of callers) outcomes.set(caller, await callAs(worlds, caller, functions));
  for (const [index, { name }] of functions.entries()) {
    const cells = callers.map((caller) => outcomes.get(caller)![index]!);
    own.lines.push({ object: name, cells: cells.map((cell) => cell.own) });
    if (!takesThings(worlds, name)) continue;
    foreign.lines.push({ object: name, cells: cells.map((cell) => cell.foreign) });
    for (const [column, cell] of cells.entries()) {
      const caller = callers[column]!;
      const reached = cell.foreign === 'ok' || (!caller.home && cell.own === 'ok');
      if (reached && !mayReach(caller, name)) foreign.reached.push(`${caller.name} calls ${name}`);
    }
  }
  return [own, foreign];
}

/** Also a command on many runs, or their number, by a filter that finds none. */
const isNothing = (row: unknown): boolean => {
  const { total, count, runs } = (row ?? {}) as { total?: unknown; count?: unknown; runs?: unknown };
  return isEmpty(row) || total === 0 || count === 0 || runs === 0;
};

const takesThings = ({ acme, globex }: Worlds, name: string) =>
  !OF_THE_ROW.has(name) && JSON.stringify(argumentsOf(name, acme)) !== JSON.stringify(argumentsOf(name, globex));

/** The organization of a caller, or Acme for whom has none; and the other one. */
export function sidesOf({ acme, globex }: Worlds, { home }: Caller): { own: World; foreign: World } {
  return home === globex ? { own: globex, foreign: acme } : { own: acme, foreign: globex };
}

function callAs(worlds: Worlds, caller: Caller, functions: ApiFunction[]): Promise<{ own: string; foreign: string }[]> {
  const sides = sidesOf(worlds, caller);
  return caller.session.transaction(async (client) => {
    const cells = [];
    for (const each of functions) {
      const call = async (world: World) => {
        const { code, rows } = await callSql(client, each, argumentsOf(each.name, world));
        return code === 'ok' && rows.every(isNothing) ? '-' : cellOf(code);
      };
      cells.push({ own: await call(sides.own), foreign: await call(sides.foreign) });
    }
    return cells;
  });
}

const LEGEND = `Who may do what: made by test/api/access.test.ts, every cell by trying.

all, some, everybody’s: rows that are seen; ok: it works; -: nothing is there or comes back; no right: the database role
may not at all; log in: UNAUTHENTICATED; none: NO_ORGANIZATION; forbidden: FORBIDDEN; unknown: NOT_FOUND, as for what does not exist.
The outsider owns the other organization. Tokens of one scope are an owner’s. A super admin belongs to no organization.
Columns are listed below their table; * those that anonymous requests may read.
`;

export function formatMatrix(callers: Caller[], sections: Section[]): string {
  const heads = callers.map(({ name }) => name.replace(':', ' ').replace('token of ', 'token ').split(' '));
  const width = Math.max(...sections.flatMap(({ lines }) => lines.map(({ object }) => object.length)));
  const widths = heads.map((head, column) =>
    Math.max(...head.map((word) => word.length), ...sections.flatMap(({ lines }) => lines.map(({ cells }) => cells[column]!.length))),
  );
  const line = (first: string, cells: string[]) =>
    [first.padEnd(width), ...cells.map((cell, column) => cell.padEnd(widths[column]!))].join('  ').trimEnd();
  const parts = sections.map(({ title, lines }) => [
    line(title, []),
    line(
      '',
      heads.map(([word]) => word!),
    ),
    line(
      '',
      heads.map(([, word]) => word ?? ''),
    ),
    ...lines.flatMap(({ object, cells, note }) => [line(object, cells), ...(note ? [`    ${note}`] : [])]),
  ]);
  return `${LEGEND}\n${parts.map((part) => part.join('\n')).join('\n\n')}\n`;
}

/** Reads and runs the examples of a page of docs/. */
import { readFile } from 'node:fs/promises';
import type pg from 'pg';
import { parse } from 'pgsql-parser';

/** A fenced block of a page. */
export interface Block {
  /** The language after the backticks: `sql`, `sh`, or empty for an output. */
  kind: string;
  text: string;
}

/** Returns the fenced blocks of a page in their order. */
export async function readBlocks(page: string): Promise<Block[]> {
  const text = await readPage(page);
  return [...text.matchAll(/^```(.*)\n([\s\S]*?)^```$/gm)].map(([, kind, block]) => ({ kind: kind!, text: block! }));
}

/** Returns the single statements of the blocks of a kind, in their order, as psql sends them. */
export async function readStatements(page: string, wanted = 'sql'): Promise<string[]> {
  const blocks = (await readBlocks(page)).filter(({ kind }) => kind === wanted);
  const script = Buffer.from(blocks.map(({ text }) => text).join('\n'));
  const { stmts = [] } = (await parse(script.toString())) as { stmts?: { stmt_location?: number; stmt_len?: number }[] };
  return stmts.map(({ stmt_location: from = 0, stmt_len: length }) => script.subarray(from, length ? from + length : undefined).toString());
}

/** Returns a pattern for an output; `…` in it matches anything. */
export function outputPattern(expected: string): RegExp {
  const parts = expected.trim().split('…');
  return new RegExp(`^${parts.map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('[^]*?')}\\s*$`);
}

/**
 * A psql session: runs statements one after the other; `\gset` stores the columns of a single row, `:'name'`
 * becomes a literal.
 */
export class PsqlSession {
  readonly #client: pg.Client;
  readonly #variables = new Map<string, string>();

  constructor(client: pg.Client) {
    this.#client = client;
  }

  /**
   * Runs a script. Returns the result of its last statement without `\gset`, with every value as the text that
   * psql prints.
   */
  async run(script: string): Promise<pg.QueryResult<Record<string, string | null>> | undefined> {
    let last: pg.QueryResult<Record<string, string | null>> | undefined;
    for (const [, text, end] of script.matchAll(/([\s\S]*?)(;|\\gset)\s*(?:\n|$)/g)) {
      const result = await this.#query(text!);
      if (end === ';') last = result;
      else for (const [name, value] of Object.entries(result.rows[0]!)) this.#variables.set(name, String(value));
    }
    return last;
  }

  async #query(statement: string): Promise<pg.QueryResult<Record<string, string | null>>> {
    const text = statement.replaceAll(/:'(\w+)'/g, (_, name: string) => this.#client.escapeLiteral(this.#variables.get(name)!));
    return this.#client.query({ text, types: { getTypeParser: () => (value: string) => value } });
  }
}

async function readPage(page: string): Promise<string> {
  return readFile(new URL(`../../docs/${page}`, import.meta.url), 'utf8');
}

/** Runs docs/tutorials/embed-in-your-app.md in a database, whatever the schema of the API is there. */
import type pg from 'pg';
import { expect } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import type { TestDatabase } from '../helpers/database.ts';
import { PsqlSession, readBlocks } from '../helpers/page.ts';

/** The cells of a table of the page, whatever their width, without the line under its heading. */
function tableOf(text: string): string[][] {
  const lines = text.trimEnd().split('\n');
  return lines.filter((line) => !/^[-+]+$/.test(line)).map((line) => line.split('|').map((cell) => cell.trim()));
}

function printed({ fields, rows }: pg.QueryResult<Record<string, string | null>>): string[][] {
  const names = fields.map(({ name }) => name);
  return [names, ...rows.map((row) => names.map((name) => row[name] ?? '')), [`(${rows.length} ${rows.length === 1 ? 'row' : 'rows'})`]];
}

/** Runs every statement of the page as an administrator whose search path begins with `schema`. */
export async function runEmbedding(db: TestDatabase, schema: string): Promise<void> {
  // Roles belong to the server: parallel runs need names of their own.
  const role = `embedding_${db.name}`;
  const client = await connect(db.adminUrl, { search_path: `${schema}, public` });
  const psql = new PsqlSession(client);
  let result: pg.QueryResult<Record<string, string | null>> | undefined;
  let outputs = 0;
  try {
    for (const { kind, text } of await readBlocks('tutorials/embed-in-your-app.md')) {
      if (kind === 'sql') {
        const script = text.replaceAll(/(?<=role |to |')shop(?=[;' ])/g, role);
        result = await psql.run(script).catch((error: Error) => expect.fail(`${error.message} in: ${script}`));
      } else if (kind === '') {
        outputs += 1;
        expect(printed(result!)).toEqual(tableOf(text));
      }
    }
    expect(outputs).toBe(3);
  } finally {
    await client.query(`reset role; drop owned by ${role}; drop role ${role}`).finally(() => client.end());
  }
}

/** The SQL of a page of docs/, which runs as it stands. */
import { readFile } from 'node:fs/promises';
import { parse } from 'pgsql-parser';

/** From top to bottom, one statement each, as psql sends it. */
export async function readStatements(page: string): Promise<string[]> {
  const text = await readFile(new URL(`../../docs/${page}`, import.meta.url), 'utf8');
  const script = Buffer.from([...text.matchAll(/^```sql\n(.*?)^```$/gms)].map((block) => block[1]).join('\n'));
  const { stmts = [] } = (await parse(script.toString())) as { stmts?: { stmt_location?: number; stmt_len?: number }[] };
  return stmts.map(({ stmt_location: from = 0, stmt_len: length }) => script.subarray(from, length ? from + length : undefined).toString());
}

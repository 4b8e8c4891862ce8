/** The SQL of a page of docs/, which runs as it stands. */
import { readFile } from 'node:fs/promises';
import { parse } from 'pgsql-parser';

/** The statements of the blocks with that info string, from top to bottom, one each, as psql sends it. */
export async function readStatements(page: string, info = 'sql'): Promise<string[]> {
  const text = await readFile(new URL(`../../docs/${page}`, import.meta.url), 'utf8');
  const script = Buffer.from([...text.matchAll(new RegExp(`^\`\`\`${info}\\n(.*?)^\`\`\`$`, 'gms'))].map((block) => block[1]).join('\n'));
  const { stmts = [] } = (await parse(script.toString())) as { stmts?: { stmt_location?: number; stmt_len?: number }[] };
  return stmts.map(({ stmt_location: from = 0, stmt_len: length }) => script.subarray(from, length ? from + length : undefined).toString());
}

/** Formats Markdown of the generated pages. */

/** Joins the texts that are not undefined with blank lines. */
export function paragraphs(...texts: (string | undefined)[]): string {
  return texts.filter(Boolean).join('\n\n');
}

/** Returns a heading with its sections; empty when there are none. */
export function chapter(heading: string, sections: string[]): string {
  return sections.length ? [heading, ...sections].join('\n\n') : '';
}

/** Splits the comment of a database object into its text and the example at its end. */
export function splitExample(comment: string | null): { text: string; example: string | undefined } {
  const [text = '', example] = (comment ?? '').split(/\s*Example: /);
  return { text: markdown(text), example };
}

/** Escapes what Markdown would take for a tag. */
export function markdown(text: string): string {
  return text.replaceAll('<', '&lt;').replaceAll('*', '\\*');
}

/** Returns a fenced block. */
export function fence(language: string, text: string): string {
  return `\`\`\`${language}\n${text}\n\`\`\``;
}

/** Returns a table. */
export function table(heads: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`;
  const cell = (text: string) => text.replaceAll(/\s+/g, ' ').replaceAll('|', '\\|');
  return [line(heads), line(heads.map(() => '---')), ...rows.map((row) => line(row.map(cell)))].join('\n');
}

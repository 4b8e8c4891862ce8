/** What the generated pages are made of. */

/** Puts what there is of them below each other. */
export function paragraphs(...texts: (string | undefined)[]): string {
  return texts.filter(Boolean).join('\n\n');
}

/** A heading with its sections; nothing when there are none. */
export function chapter(heading: string, sections: string[]): string {
  return sections.length ? [heading, ...sections].join('\n\n') : '';
}

/** A comment of the database ends with its example. */
export function splitExample(comment: string | null): { text: string; example: string | undefined } {
  const [text = '', example] = (comment ?? '').split(/\s*Example: /);
  return { text: markdown(text), example };
}

/** What Markdown would take for a tag. */
export function markdown(text: string): string {
  return text.replaceAll('<', '&lt;').replaceAll('*', '\\*');
}

export function fence(language: string, text: string): string {
  return `\`\`\`${language}\n${text}\n\`\`\``;
}

export function table(heads: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`;
  const cell = (text: string) => text.replaceAll(/\s+/g, ' ').replaceAll('|', '\\|');
  return [line(heads), line(heads.map(() => '---')), ...rows.map((row) => line(row.map(cell)))].join('\n');
}

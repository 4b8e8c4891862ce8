import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { PAGES, generatePages } from '../../tools/generate-reference.ts';
import { createTestDatabase } from '../helpers/database.ts';

const db = await createTestDatabase();
const pages = await generatePages(db.admin);

test.each(PAGES)('docs/%s.md says what is there (if not: npm run docs)', async (name) => {
  expect(await readFile(new URL(`../../docs/${name}.md`, import.meta.url), 'utf8')).toBe(pages[name]);
});

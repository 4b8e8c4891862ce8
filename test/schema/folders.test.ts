/** What CONTRIBUTING says of the folders: it names all of them, and the tests of SQL stand where the SQL does. */
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { expect, test } from 'vitest';
import { BUILD_FOLDER } from '../../src/database/sources.ts';

const ignored = readFileSync(join(BUILD_FOLDER, '.gitignore'), 'utf8').split('\n');
const roots = readdirSync(BUILD_FOLDER, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
  .map(({ name }) => name)
  .filter((name) => !ignored.some((line) => line.replaceAll('/', '') === name));
const page = readFileSync(join(BUILD_FOLDER, 'CONTRIBUTING.md'), 'utf8');
const [, layout = ''] = page.split('\n## Layout\n');
const rowOf = (folder: string) => layout.split('\n').find((line) => line.startsWith(`| \`${folder}/\` |`)) ?? '';

test('every folder of the project has a row', () => {
  expect(roots.filter((folder) => rowOf(folder) === '')).toEqual([]);
});

test('test/sql/ mirrors sql/ folder by folder', () => {
  const withSql = foldersOf('sql', (file) => file.endsWith('.sql') && !/\/(?:index|policies)\.sql$/.test(file));
  const withTests = foldersOf('test/sql', (file) => file.endsWith('.test.ts'));
  const above = (folder: string) => withTests.some((other) => other.startsWith(`${folder}/`));
  expect(withTests.filter((folder) => !withSql.includes(folder) && !withSql.some((other) => other.startsWith(`${folder}/`)))).toEqual([]);
  expect(withSql.filter((folder) => folder !== '.' && !withTests.includes(folder) && !above(folder))).toEqual([]);
});

test('the other folders of test/ are those of src/, or kinds that the page names', () => {
  const ofSrc = foldersOf('src', () => true);
  const kinds = unique(foldersOf('test', () => true).map((folder) => folder.split('/', 1)[0]!)).filter((folder) => folder !== '.');
  expect(kinds.filter((kind) => !ofSrc.includes(kind) && !rowOf('test').includes(`\`${kind}/\``) && kind !== 'sql')).toEqual([]);
});

/** Folders with such files, from that folder on; the folder itself is `.`. */
function foldersOf(root: string, condition: (file: string) => boolean): string[] {
  const files = readdirSync(join(BUILD_FOLDER, root), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map(({ parentPath, name }) => relative(join(BUILD_FOLDER, root), join(parentPath, name)));
  return unique(paths.filter((path) => condition(`/${path}`)).map((path) => dirname(path)));
}

function unique(names: string[]): string[] {
  return [...new Set(names)].sort();
}

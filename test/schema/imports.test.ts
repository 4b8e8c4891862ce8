/** Imports of `src/` point downwards: each folder uses only those below it in docs/architecture.md, and no file uses itself. */
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect, test } from 'vitest';
import { BUILD_FOLDER } from '../../src/database/sources.ts';

/** From what everything uses to what uses everything: the table of docs/architecture.md that says what each is for. */
const ORDER = tableOfFolders().toReversed();

const files = readdirSync(join(BUILD_FOLDER, 'src'), { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
const imports = new Map(files.map((file) => [file, importsOf(file)]));
const partOf = (file: string) => file.split('/', 1)[0]!;

test('every folder and file of src/ has its place in the order, once', () => {
  expect([...ORDER].sort()).toEqual([...new Set(files.map(partOf))].sort());
});

test('no file imports from a folder above its own', () => {
  const upward = [...imports].flatMap(([file, targets]) =>
    targets.filter((target) => ORDER.indexOf(partOf(target)) > ORDER.indexOf(partOf(file))).map((target) => `${file} imports ${target}`),
  );
  expect(upward).toEqual([]);
});

test('no file imports itself, by whatever way round', () => {
  const reaches = (from: string, seen = new Set<string>()): Set<string> => {
    for (const target of imports.get(from) ?? []) {
      if (seen.has(target)) continue;
      seen.add(target);
      reaches(target, seen);
    }
    return seen;
  };
  expect(files.filter((file) => reaches(file).has(file))).toEqual([]);
});

function importsOf(file: string): string[] {
  const text = readFileSync(join(BUILD_FOLDER, 'src', file), 'utf8');
  return [...text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*'(\.{1,2}\/[^']+)'/g)].map(([, target]) => normalize(join(dirname(file), target!)));
}

/** The folders and files of src/ that the page describes, from top to bottom. */
function tableOfFolders(): string[] {
  const [, section = ''] = readFileSync(join(BUILD_FOLDER, 'docs/architecture.md'), 'utf8').split('\n## The folders of src/\n');
  return [...section.matchAll(/^\| \[[^\]]+\]\(\.\.\/src\/([^)]+)\) \|/gm)].map(([, name]) => name!);
}

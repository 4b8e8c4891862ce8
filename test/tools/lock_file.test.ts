import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';

interface LockedPackage {
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

/** Where Node looks for a package that the one at `path` needs, from the inside out. */
function placesOf(path: string, name: string): string[] {
  const folders = path.split('/node_modules/');
  const inner = folders.map((_, depth) => folders.slice(0, folders.length - depth).join('/node_modules/'));
  return [...inner.filter(Boolean).map((folder) => `${folder}/node_modules/${name}`), `node_modules/${name}`];
}

test('package-lock.json has everything that its packages name, those for other platforms too: npm ci refuses it otherwise', async () => {
  const { packages } = JSON.parse(await readFile('package-lock.json', 'utf8')) as { packages: Record<string, LockedPackage> };
  const missing = Object.entries(packages).flatMap(([path, { dependencies, devDependencies, optionalDependencies }]) =>
    Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies })
      .filter((name) => !placesOf(path, name).some((place) => place in packages))
      .map((name) => `${path || 'the project'} needs ${name}`),
  );
  expect(missing).toEqual([]);
});

test('package-lock.json is that of package.json', async () => {
  const { packages } = JSON.parse(await readFile('package-lock.json', 'utf8')) as { packages: Record<string, LockedPackage> };
  const { dependencies, devDependencies } = JSON.parse(await readFile('package.json', 'utf8')) as LockedPackage;
  expect(packages['']).toMatchObject({ dependencies, devDependencies });
});

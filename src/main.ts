#!/usr/bin/env node
/**
 * The command `flowgres`. Checks the version of Node before it loads modules that an older version cannot
 * parse, so this file uses old syntax only.
 */
import { readFileSync } from 'node:fs';

/** `engines.node` of package.json, such as `>=22.12`: the only place that states the requirement. */
const { engines } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { engines: { node: string } };
const needed = engines.node.replace('>=', '');

if (isOlder(process.versions.node, needed)) {
  console.error(`Flowgres needs Node ${needed} or newer, this is ${process.versions.node}.`);
  process.exitCode = 1;
} else {
  await import('./cli/compile_cache.ts');
  await import('./cli/program.ts');
}

function isOlder(version: string, than: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [neededMajor = 0, neededMinor = 0] = than.split('.').map(Number);
  return major < neededMajor || (major === neededMajor && minor < neededMinor);
}

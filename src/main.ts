#!/usr/bin/env node
/**
 * The command `flowgres`. It looks at the version of Node before anything is loaded that an older one does not know;
 * so this file is plain enough for those, too.
 */
import { readFileSync } from 'node:fs';

/** `>=22.12`: the one place that says what is needed. */
const { engines } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { engines: { node: string } };
const needed = engines.node.replace('>=', '');

if (isOlder(process.versions.node, needed)) {
  console.error(`Flowgres needs Node ${needed} or newer, this is ${process.versions.node}.`);
  process.exitCode = 1;
} else {
  await import('./cli/program.ts');
}

function isOlder(version: string, than: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [neededMajor = 0, neededMinor = 0] = than.split('.').map(Number);
  return major < neededMajor || (major === neededMajor && minor < neededMinor);
}

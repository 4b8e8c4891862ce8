/**
 * `npm run test:dates`: the suites that touch time, with the clock of node, PostgreSQL and psql moved to a date. They
 * begin a little before midnight where the day, the week, the month or the year then changes under them.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { withClockAt } from '../helpers/fake_clock.ts';
import { suite } from '../system/packages.ts';
import { suitesThatTouchTime } from './suites.ts';

const DATES = {
  'at the turn of the year': '2026-12-31T23:57:30Z',
  'at the end of February, a Sunday': '2027-02-28T23:58:00Z',
  'on 29 February': '2028-02-29T12:00:00Z',
  'on the first of a month': '2027-03-01T00:00:05Z',
  'on the 29th of a month': '2027-01-29T09:00:00Z',
  'on a Sunday, when the first week of a year begins before it': '2029-12-30T23:58:00Z',
};

const VITEST = 'node_modules/vitest/vitest.mjs';
const DAY_MS = 86_400_000;
const MAX_OUTPUT_BYTES = 64 * 1024 ** 2;

const report = z.object({
  startTime: z.number(),
  numPassedTests: z.number(),
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      message: z.string(),
      startTime: z.number(),
      endTime: z.number(),
      assertionResults: z.array(z.object({ status: z.string(), fullName: z.string(), failureMessages: z.array(z.string()) })),
    }),
  ),
});
type Report = z.infer<typeof report>;

suite('the suites that touch time pass', ['cc'], () => {
  test.for(Object.entries(DATES))('%s: %s', async ([, date], { signal }) => {
    const files = await suitesThatTouchTime();
    const begin = new Date(date);
    const result = await runAt(begin, files, signal);

    expect(failuresOf(result)).toEqual([]);
    expect(result.testResults).toHaveLength(files.length);
    expect(Math.abs(result.startTime - begin.getTime()), 'the clock was moved').toBeLessThan(DAY_MS / 2);
    const end = Math.max(...result.testResults.map(({ endTime }) => endTime));
    console.log(`${date}: ${result.numPassedTests} passed until ${new Date(end).toISOString()}`);
  });
});

async function runAt(moment: Date, files: string[], signal: AbortSignal): Promise<Report> {
  const folder = await mkdtemp(join(tmpdir(), 'flowgres-dates-report-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, 'report.json');
  return withClockAt(moment, async (environment) => {
    const args = [VITEST, 'run', '--reporter=json', `--outputFile=${file}`, ...files];
    const output = await promisify(execFile)(process.execPath, args, {
      env: { ...ownEnvironment(), ...environment },
      maxBuffer: MAX_OUTPUT_BYTES,
      signal,
    }).catch((error: unknown) => error);
    const text = await readFile(file, 'utf8').catch(() => {
      throw new Error('The tests did not run.', { cause: output });
    });
    return report.parse(JSON.parse(text));
  });
}

/** Without what vitest tells the processes of this run about itself. */
function ownEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(VITEST|TEST$|NODE_ENV$)/.test(name)));
}

/** Each failed test, or failed file, with its first message. */
function failuresOf({ testResults }: Report): string[] {
  return testResults
    .filter(({ status }) => status !== 'passed')
    .flatMap(({ name, message, assertionResults }) => [
      ...(message ? [`${name}: ${message}`] : []),
      ...assertionResults
        .filter(({ status }) => status === 'failed')
        .map(({ fullName, failureMessages }) => `${name} > ${fullName}: ${failureMessages[0]?.split('\n    at ')[0] ?? ''}`),
    ]);
}

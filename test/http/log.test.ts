/** Lines of a process that logs JSON, whoever writes them. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const LOG = new URL('../../src/log.ts', import.meta.url).href;

/** What a process prints that runs this script with the log in `log`. */
async function lines(script: string): Promise<{ out: Record<string, unknown>[]; err: Record<string, unknown>[] }> {
  const text = `import pg from 'pg'; import { log, logJson, withRequestId } from '${LOG}'; logJson('serve'); ${script}`;
  const args = ['--input-type=module', '--eval', text];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { cwd: new URL('../..', import.meta.url) }).catch(
    (error: { stdout: string; stderr: string }) => error,
  );
  const parse = (printed: string) =>
    printed
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { out: parse(stdout), err: parse(stderr) };
}

test('have the time, the level, the message and the request that they belong to', async () => {
  const { out, err } = await lines(`
    log.info('ready');
    await withRequestId('r1', async () => { await null; log.error('failed', { errorId: 'e1' }); });
    log.warn('later');`);
  expect(out).toEqual([{ level: 'info', time: expect.stringMatching(/Z$/), command: 'serve', pid: expect.any(Number), message: 'ready' }]);
  expect(err).toMatchObject([
    { level: 'error', message: 'failed', errorId: 'e1', requestId: 'r1' },
    { level: 'warn', message: 'later' },
  ]);
  expect(err[1]).not.toHaveProperty('requestId');
});

test('name the request that failed by the id that its answer has', async () => {
  const { out, err } = await lines(`
    const { startHttp } = await import('${new URL('../../src/http/server.ts', import.meta.url).href}');
    const server = await startHttp({ host: '127.0.0.1', port: 0 });
    server.add({ graphql: async () => { await null; throw new Error('broken'); } });
    const given = 'a4f0f1b2-5a0e-4c57-8a06-3f8b1f0f1a11';
    for (const id of [given, 'no uuid']) {
      log.info((await fetch(server.url + '/graphql', { headers: { 'x-request-id': id } })).headers.get('x-request-id'));
    }
    await server.close(0);`);
  expect(out[0]!['message']).toBe('a4f0f1b2-5a0e-4c57-8a06-3f8b1f0f1a11');
  expect(err.map(({ requestId }) => requestId)).toEqual(out.map(({ message }) => message));
  expect(err[1]).toMatchObject({ level: 'error', error: { message: 'broken' }, requestId: expect.stringMatching(/^[\da-f-]{36}$/) });
});

test('say what failed, without the row that a database error may hold', async () => {
  const { err } = await lines(`
    const refused = Object.assign(new pg.DatabaseError('duplicate key', 1, 'error'), { code: '23505', detail: 'Key (email)=(ada)' });
    log.error('a', { error: new Error('outer', { cause: refused }) });
    log.error('b', { error: new TypeError('x is undefined') });`);
  expect(err[0]!['error']).toEqual({ name: 'error', message: 'duplicate key', code: '23505' });
  expect(err[1]!['error']).toMatchObject({ name: 'TypeError', stack: expect.stringContaining('TypeError: x is undefined') });
});

test('are JSON, too, when a library, Node itself or a crash writes them', async () => {
  const { out, err } = await lines(`
    console.log('from %s', 'a library');
    console.error(new Error('printed'));
    process.emitWarning('old', 'DeprecationWarning');
    setTimeout(() => Promise.reject(new Error('nobody caught this')), 20);`);
  expect(out).toMatchObject([{ level: 'info', message: 'from a library' }]);
  expect(err).toMatchObject([
    { level: 'error', message: expect.stringContaining('Error: printed') },
    { level: 'warn', message: 'old', warning: 'DeprecationWarning' },
    { level: 'fatal', error: { message: 'nobody caught this' } },
  ]);
});

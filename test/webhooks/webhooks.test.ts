import { type IncomingMessage, request as httpRequest } from 'node:http';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startWorker } from '../../src/worker/start.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { type Definition, type TestOrganization, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { serveIntake } from '../helpers/intake.ts';

const db = await createTestDatabase();
let organization: TestOrganization;
let origin = '';
const closing: (() => unknown)[] = [];
/** Nobody listens there: a request is tried again after a while. */
const NOBODY = 'http://127.0.0.1:1/';
/** What the intake takes for its own failures. */
const problems: unknown[] = [];

beforeAll(async () => {
  organization = await createOrganization(db);
  origin = await serve(db.url('flowgres_intake'));
  const nodes = { httpAllow: [new URL(NOBODY).host] };
  const worker = await startWorker({ connectionString: db.url('flowgres_worker'), concurrency: 5, nodes });
  closing.push(() => worker.stop());
});
afterAll(async () => {
  for (const close of closing.splice(0).reverse()) await close();
  expect(problems).toEqual([]);
});

/** The intake on a port of its own. */
async function serve(connectionString: string): Promise<string> {
  const intake = await serveIntake(connectionString, { onProblem: (_message, error) => void problems.push(error) });
  closing.push(intake.close);
  return intake.origin;
}

/** A multipart body of these parts, with the boundary `x`. */
function form(...parts: string[]): string {
  return `${parts.map((part) => `--x\r\nContent-Disposition: form-data; ${part}\r\n`).join('')}--x--\r\n`;
}

let paths = 0;
/** A published workflow that starts with a webhook; returns its address. */
async function hook(properties: Record<string, unknown>, ...nodes: Definition['nodes']): Promise<string> {
  return hookWith({}, properties, ...nodes);
}

async function hookWith(settings: Definition['settings'], properties: Record<string, unknown>, ...nodes: Definition['nodes']) {
  paths += 1;
  const all = [{ id: 'hook', type: 'webhookTrigger', properties: { path: `/p${paths}`, ...properties } }, ...nodes];
  const connections = nodes.map((node, index) => ({ source: all[index]!.id, target: node.id }));
  await publishWorkflow(organization, { nodes: all, connections, settings: settings ?? {} });
  return `${origin}/hooks/${organization.webhookKey}${properties['path'] ?? `/p${paths}`}`;
}

const echo = { id: 'echo', type: 'transform', properties: { template: '{{ $.input }}' } };
const json = (body: unknown): RequestInit => ({
  method: 'POST',
  body: JSON.stringify(body),
  headers: { 'content-type': 'application/json' },
});
const runsOf = async (path: string) => {
  const { rows } = await db.admin.query(
    `select r.status from workflow_runs r join workflow_events e on e.run_id = r.id and e.seq = 1 where e.payload #>> '{input,path}' = $1`,
    [path],
  );
  return rows.map(({ status }) => status);
};

describe('a webhook that answers immediately', () => {
  test('says 202 with the id of a run that is committed', async () => {
    const url = await hook({}, echo);
    const response = await fetch(url, json({ a: 1 }));
    expect(response.status).toBe(202);
    const { runId } = (await response.json()) as { runId: string };
    const { rows } = await db.admin.query('select status, mode from workflow_runs where id = $1', [runId]);
    expect(rows).toEqual([{ status: 'success', mode: 'webhook' }]);
  });
});

describe('a webhook that answers with the last node', () => {
  test('says 200 with the output, from one transaction', async () => {
    const url = await hook({ respond: 'lastNode' }, { id: 'pick', type: 'set', properties: { assign: { sum: '{{ $.prev.a }}' } } });
    const response = await fetch(url, json({ a: 12345 }));
    expect([response.status, await response.json()]).toEqual([200, { a: 12345, sum: 12345 }]);
    const { rows } = await db.admin.query(
      'select count(distinct e.xmin::text)::int as transactions from workflow_events e where run_id = $1',
      [response.headers.get('flowgres-run-id')],
    );
    expect(rows).toEqual([{ transactions: 1 }]);
  });

  test('waits for a worker where the run needs one', async () => {
    const url = await hook({ respond: 'lastNode' }, { id: 'write', type: 'log', properties: { message: 'hi' } });
    const response = await fetch(url, json({ a: 1 }));
    expect([response.status, await response.json()]).toEqual([200, { a: 1 }]);
  });

  test('says 500 with the error of a failed run', async () => {
    const url = await hook({ respond: 'lastNode' }, { id: 'no', type: 'stopAndError', properties: { message: 'not today' } });
    const response = await fetch(url, json({}));
    expect([response.status, await response.json()]).toEqual([
      500,
      { error: expect.objectContaining({ code: 'STOPPED', message: 'not today' }), runId: response.headers.get('flowgres-run-id') },
    ]);
  });

  test('says 202 when the run begins to wait, or nothing has come within the time', async () => {
    const waits = await hook({ respond: 'lastNode' }, { id: 'pause', type: 'wait', properties: { seconds: 3600 } });
    expect((await fetch(waits, json({}))).status).toBe(202);
    const slow = await hook(
      { respond: 'lastNode', responseTimeoutMs: 1 },
      { id: 'get', type: 'httpRequest', properties: { url: NOBODY }, retry: { maxAttempts: 3 } },
    );
    const response = await fetch(slow, json({}));
    expect([response.status, await response.json()]).toEqual([202, { runId: expect.any(String) }]);
  });
});

describe('a caller who waits for a run', () => {
  /** The last run of the last webhook, as soon as it is there. */
  async function begunRun(): Promise<string> {
    const find = async () =>
      (
        await db.admin.query<{ id: string }>(
          `select r.id from workflow_runs r join workflow_events e on e.run_id = r.id and e.seq = 1
           where e.payload #>> '{input,path}' = $1 order by r.id desc`,
          [`/p${paths}`],
        )
      ).rows[0]?.id;
    await expect.poll(find).toBeDefined();
    return (await find())!;
  }
  const slow = { id: 'get', type: 'httpRequest', properties: { url: 'http://nowhere.invalid/' }, retry: { initialMs: 3_600_000 } };

  test.each(['lastNode', 'respondNode'])('by %s is told 202 when it is held, and when it is paused', async (respond) => {
    const url = await hookWith({ concurrency: { limit: 1 } }, { respond }, slow);
    const first = fetch(url, json({ n: 1 }));
    const runId = await begunRun();
    const held = await fetch(url, json({ n: 2 }));
    expect([held.status, await held.json()]).toEqual([202, { runId: expect.any(String) }]);
    await organization.user.query('select pause_run($1)', [runId]);
    expect([(await first).status, await (await first).json()]).toEqual([202, { runId }]);
    await db.admin.query('select engine.cancel_run(id) from workflow_runs where finished_at is null');
  });

  test.each(['lastNode', 'respondNode'])('by %s is told 500 when it is canceled', async (respond) => {
    const url = await hook({ respond }, slow);
    const answer = fetch(url, json({}));
    const runId = await begunRun();
    await organization.user.query('select cancel_run($1)', [runId]);
    const response = await answer;
    expect([response.status, await response.json()]).toEqual([500, { runId, error: expect.objectContaining({ code: 'CANCELED' }) }]);
  });

  test.each(['lastNode', 'respondNode'])('by %s waits for a timer and for a child run', async (respond) => {
    const child = await publishWorkflow(organization, {
      nodes: [
        { id: 'start', type: 'subworkflowTrigger' },
        { id: 'nap', type: 'wait', properties: { seconds: 0.1 } },
        { id: 'end', type: 'transform', properties: { template: { by: 'child' } } },
      ],
      connections: [
        { source: 'start', target: 'nap' },
        { source: 'nap', target: 'end' },
      ],
    });
    const url = await hook(
      { respond },
      { id: 'nap', type: 'wait', properties: { seconds: 0.2 } },
      { id: 'call', type: 'executeWorkflow', properties: { workflow: child.id } },
      { id: 'answer', type: 'respondToWebhook', properties: { status: respond === 'lastNode' ? 299 : 200 } },
    );
    const response = await fetch(url, json({}));
    expect([response.status, await response.json()]).toEqual([200, { by: 'child' }]);
  });

  test('is told 202 at once by a run that waits for a signal, or for longer than the answer may take', async () => {
    for (const properties of [{ signal: 'go' }, { seconds: 3600 }]) {
      const url = await hook({ respond: 'lastNode', responseTimeoutMs: 120_000 }, { id: 'wait', type: 'wait', properties });
      expect((await fetch(url, json({}))).status).toBe(202);
    }
  });

  test('too long is told 202, and the run goes on', async () => {
    const url = await hook({ respond: 'lastNode', responseTimeoutMs: 50 }, { ...slow, retry: { initialMs: 200, maxAttempts: 2 } });
    expect((await fetch(url, json({}))).status).toBe(202);
    await expect.poll(() => runsOf(`/p${paths}`)).toEqual(['error']);
  });
});

describe('a webhook that answers with respondToWebhook', () => {
  const respond = (properties: Record<string, unknown>) => ({ id: 'answer', type: 'respondToWebhook', properties });

  test('says what the node says, while the run goes on', async () => {
    const url = await hook(
      { respond: 'respondNode' },
      respond({
        status: 201,
        headers: { 'X-Count': 5, 'Content-Type': 'text/html', 'Set-Cookie': 'a=b', 'Transfer-Encoding': 'chunked' },
        body: '<p>{{ $.prev.a }}</p>',
      }),
      { id: 'pause', type: 'wait', properties: { seconds: 3600 } },
    );
    const response = await fetch(url, json({ a: 7 }));
    expect([response.status, await response.text()]).toEqual([201, '<p>7</p>']);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'x-count': '5',
      'content-type': 'text/html',
      'content-security-policy': 'sandbox',
      'x-content-type-options': 'nosniff',
    });
    expect(response.headers.has('set-cookie')).toBe(false);
  });

  test('says it after a step of a worker too', async () => {
    const url = await hook(
      { respond: 'respondNode' },
      { id: 'write', type: 'log', properties: { message: 'hi' } },
      respond({ body: { base64: 'AQID' } }),
    );
    const response = await fetch(url, json({}));
    expect([response.status, await response.bytes()]).toEqual([200, new Uint8Array([1, 2, 3])]);
  });

  test.each([null, ['1', '2'], { a: 1 }, '😀', 'a\nb'])('says 500 when a header cannot be sent, such as %j', async (value) => {
    const url = await hook({ respond: 'respondNode' }, respond({ status: 302, headers: { location: '/moved', 'x-a': '{{ $.prev.a }}' } }));
    const response = await fetch(url, { ...json({ a: value }), redirect: 'manual' });
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    expect([response.status, error.code, error.message.includes('x-a')]).toEqual([500, 'INVALID_RESPONSE', true]);
  });

  test('sends a header of Latin letters with the others', async () => {
    const url = await hook({ respond: 'respondNode' }, respond({ status: 302, headers: { location: '/moved', 'x-a': 'Grüße' } }));
    const response = await fetch(url, { ...json({}), redirect: 'manual' });
    expect([response.status, response.headers.get('location'), response.headers.get('x-a')]).toEqual([302, '/moved', 'Grüße']);
  });

  test('says 500 with the error when the run fails before it', async () => {
    const fails = { id: 'no', type: 'stopAndError', properties: { message: 'not today' } };
    const url = await hook({ respond: 'respondNode' }, fails, respond({}));
    const response = await fetch(url, json({}));
    expect([response.status, await response.json()]).toEqual([
      500,
      { error: expect.objectContaining({ code: 'STOPPED' }), runId: expect.any(String) },
    ]);
  });

  test('says 200 with the run when the run ends without it', async () => {
    const url = await hook({ respond: 'respondNode' }, echo);
    const response = await fetch(url, json({}));
    expect([response.status, await response.json()]).toEqual([200, { runId: expect.any(String) }]);
  });
});

describe('the input', () => {
  /** What the workflow sees of a request. */
  async function inputOf(properties: Record<string, unknown>, suffix: string, init: RequestInit): Promise<Record<string, unknown>> {
    const url = await hook({ respond: 'lastNode', ...properties }, echo);
    const response = await fetch(url.replace(/\/:.*$/, '') + suffix, init);
    return (await response.json()) as Record<string, unknown>;
  }

  test('has method, path, params, query, headers and body', async () => {
    const input = await inputOf({ path: '/in/:id/:part', method: 'PUT' }, '/a%20b/%C3%A4?x=1&y=2&y=3&__proto__=z', {
      ...json({ deep: [{}] }),
      method: 'PUT',
      headers: { 'content-type': 'application/json', 'X-Custom': 'yes', authorization: 'Bearer secret', cookie: 'a=b' },
    });
    expect(input).toMatchObject({
      method: 'PUT',
      path: '/in/a%20b/%C3%A4',
      params: { id: 'a b', part: 'ä' },
      body: { deep: [{}] },
      headers: { 'x-custom': 'yes', authorization: '[redacted]', cookie: '[redacted]' },
    });
    expect(JSON.stringify(input['query'])).toBe('{"x":"1","y":["2","3"],"__proto__":"z"}');
  });

  test.each([
    ['application/json', '{"n":12345678901234567890}', { n: Number('12345678901234567890') }],
    ['application/vnd.api+json', '[null]', [null]],
    ['application/x-www-form-urlencoded', 'a=1&b=x+y&a=2', { a: ['1', '2'], b: 'x y' }],
    ['text/plain; charset=iso-8859-1', Buffer.from([0xe4]), 'ä'],
    ['application/xml', '<a/>', '<a/>'],
    ['application/octet-stream', Buffer.from([0, 255]), { base64: 'AP8=' }],
    ['application/x-www-form-urlencoded; charset=windows-1252', 'name=M%FCller&euro=%80', { name: 'Müller', euro: '€' }],
    ['application/x-www-form-urlencoded; charset=Shift_JIS', 'a=%93%FA%96%7B', { a: '日本' }],
    ['text/xml', '<a/>', '<a/>'],
    ['text/csv; charset=utf-8', 'a,b', 'a,b'],
    ['image/png', Buffer.from([1, 2]), { base64: 'AQI=' }],
    [
      'multipart/form-data; boundary=x',
      form('name="a"\r\n\r\nätsch', 'name="file"; filename="a b.bin"\r\nContent-Type: image/png\r\n\r\nabc', 'name="a"\r\n\r\n2'),
      { a: ['ätsch', '2'], file: { name: 'a b.bin', type: 'image/png', base64: 'YWJj' } },
    ],
    ['application/json', '', null],
  ])('of %s is what was sent', async (type, body, expected) => {
    expect((await inputOf({}, '', { method: 'POST', body, headers: { 'content-type': type } }))['body']).toEqual(expected);
  });

  test('keeps the digits of large numbers', async () => {
    const url = await hook({ respond: 'lastNode' }, { id: 'end', type: 'noOp' });
    const response = await fetch(url, { ...json(0), body: '{"id":12345678901234567890}' });
    expect(await response.text()).toContain('12345678901234567890');
  });

  test.each([
    ['application/json', '{', 'INVALID_JSON'],
    ['application/json', '{"a":"\\u0000"}', 'INVALID_JSON'],
    ['application/json', '"\\ud800"', 'INVALID_JSON'],
    ['application/json', '['.repeat(70) + ']'.repeat(70), 'INVALID_JSON'],
    ['application/json', '1e400', 'INVALID_JSON'],
    ['application/json', Buffer.from([0x22, 0xff, 0x22]), 'INVALID_TEXT'],
    ['text/plain', 'a\0b', 'INVALID_TEXT'],
    ['application/x-www-form-urlencoded', 'a=%00', 'INVALID_TEXT'],
    ['application/x-www-form-urlencoded', 'a=%FC', 'INVALID_TEXT'],
    ['application/x-www-form-urlencoded; charset=klingon', 'a=1', 'INVALID_TEXT'],
    ['multipart/form-data; boundary=x', '--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nbroken off', 'INVALID_TEXT'],
    ['multipart/form-data', 'no boundary', 'INVALID_TEXT'],
  ])('of %s %j is refused', async (type, body, code) => {
    const url = await hook({ respond: 'lastNode' }, echo);
    const response = await fetch(url, { method: 'POST', body, headers: { 'content-type': type } });
    expect([response.status, await response.json()]).toEqual([400, { error: expect.objectContaining({ code }) }]);
    expect(await runsOf(new URL(url).pathname.split('/').slice(3).join('/'))).toEqual([]);
  });

  test('with a NUL in the query is refused', async () => {
    const url = await hook({}, echo);
    expect((await fetch(`${url}?a=%00`, json({}))).status).toBe(400);
  });
});

describe('the address', () => {
  const known = new Map<string, Promise<string>>();
  /** Of a webhook with a parameter and a fixed segment after it; up to the parameter. */
  function addressOf(name: string): Promise<string> {
    const made = known.get(name) ?? hook({ path: `/${name}/:id/end`, respond: 'lastNode' }, echo);
    known.set(name, made);
    return made.then((url) => new URL(url).pathname.replace('/:id/end', ''));
  }

  test('that nobody has is not found, whatever it looks like', async () => {
    await hook({ path: '/known/:id' }, echo);
    const key = organization.webhookKey;
    for (const path of [
      '/hooks',
      '/hooks/',
      `/hooks/${key}`,
      `/hooks/${key}/`,
      `/hooks/${key}/unknown`,
      `/hooks/${'A'.repeat(22)}/known/1`,
      '/hooks/short/known/1',
      `/hooks/${key}/known/%2e%2e`,
      `/hooks/${key}//known/1`,
      `/hooks/${key}/known/1/2`,
    ]) {
      const response = await raw('POST', path);
      expect([path, response.status, JSON.parse(response.body)]).toEqual([
        path,
        404,
        { error: { code: 'NOT_FOUND', message: 'There is no such webhook.' } },
      ]);
    }
  });

  test.each([
    ['a%20b', 'a b'],
    ['a+b', 'a+b'],
    ['%C3%A4', 'ä'],
    ['a%2Fb%2f..', 'a/b/..'],
    ['a%5Cb', 'a\\b'],
    ['100%25', '100%'],
    ['%2541', '%41'],
    ['%F0%9F%98%80', '😀'],
    ["a;b=c,d:e@f!$&'()*~", "a;b=c,d:e@f!$&'()*~"],
    ['{x}|"', '{x}|"'],
  ])('has the segment %s as it was sent in the path, and as the text %j in its parameter', async (sent, id) => {
    const answer = await raw(
      'POST',
      `${await addressOf('encoded')}/${sent}/end?q=${sent === 'a+b' ? 'a%2Bb' : sent.replaceAll('&', '%26')}`,
    );
    expect([answer.status, JSON.parse(answer.body)]).toMatchObject([
      200,
      { path: `/encoded/${sent}/end`, params: { id }, query: { q: id } },
    ]);
  });

  test('is the same one however its letters are encoded, and keeps what was sent', async () => {
    const answer = await raw('POST', `${(await addressOf('encoded')).replace('encoded', '%65nc%6Fded')}/1/%65nd/`);
    expect([answer.status, JSON.parse(answer.body)]).toMatchObject([200, { path: '/%65nc%6Fded/1/%65nd', params: { id: '1' } }]);
  });

  test.each(['%zz', '%', '%E4', '%C3%28', '%ed%a0%80', '%00'])('that is no UTF-8 is refused with 400: %j', async (sent) => {
    const answer = await raw('POST', `${await addressOf('encoded')}/${sent}/end`);
    expect([answer.status, JSON.parse(answer.body)]).toMatchObject([400, { error: { code: 'INVALID_TEXT' } }]);
  });

  test('with bytes that are not encoded is refused with 400', async () => {
    expect((await raw('POST', `${await addressOf('encoded')}/\xe4/end`)).status).toBe(400);
  });

  test('takes its own methods only', async () => {
    const url = await hook({ method: ['POST', 'PUT'] }, echo);
    for (const method of ['GET', 'DELETE', 'OPTIONS']) {
      const response = await fetch(url, { method });
      expect([response.status, response.headers.get('allow')]).toEqual([405, 'POST, PUT']);
    }
    const head = await fetch(url, { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([405, '']);
  });

  test('answers HEAD where it answers GET, without the body', async () => {
    const url = await hook({ method: 'GET', respond: 'lastNode' }, echo);
    const [get, head] = [await fetch(url), await fetch(url, { method: 'HEAD' })];
    expect([head.status, await head.text()]).toEqual([200, '']);
    expect(head.headers.get('content-type')).toBe(get.headers.get('content-type'));
    expect(await get.json()).toMatchObject({ method: 'GET' });
  });

  test('is gone when the workflow is unpublished', async () => {
    const url = await hook({ respond: 'lastNode' }, echo);
    const { rows } = await organization.user.query<{ workflow_id: string }>('select workflow_id from webhooks where path = $1', [
      `/p${paths}`,
    ]);
    expect((await fetch(url, json({}))).status).toBe(200);
    await organization.user.query('select unpublish_workflow(id => $1)', [rows[0]!.workflow_id]);
    // Within the second that routes are remembered the start itself refuses.
    expect([404, 410]).toContain((await fetch(url, json({}))).status);
  });
});

describe('a delivery with a key', () => {
  test('starts one run, however often it comes, and answers with that run', async () => {
    const url = await hook({ dedupeHeader: 'X-Delivery', respond: 'lastNode' }, echo);
    const deliver = (attempt: number) =>
      fetch(url, { ...json({ a: 1 }), headers: { 'content-type': 'application/json', 'x-delivery': 'one', 'x-attempt': String(attempt) } });
    const responses = await Promise.all([1, 2, 3, 4, 5].map(deliver));
    expect(new Set(responses.map((response) => response.headers.get('flowgres-run-id'))).size).toBe(1);
    const bodies = await Promise.all(responses.map((response) => response.text()));
    expect(responses.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    expect(new Set(bodies).size).toBe(1);
    expect(await runsOf(`/p${paths}`)).toEqual(['success']);
  });

  test('and another body is a conflict', async () => {
    const url = await hook({ dedupeHeader: 'x-delivery' }, echo);
    const deliver = (body: unknown, key: string) =>
      fetch(url, { ...json(body), headers: { 'content-type': 'application/json', 'x-delivery': key } });
    expect((await deliver({ a: 1 }, 'one')).status).toBe(202);
    expect((await deliver({ a: 2 }, 'one')).status).toBe(409);
    expect((await deliver({ a: 2 }, 'two')).status).toBe(202);
    expect((await deliver({ a: 2 }, 'x'.repeat(300))).status).toBe(400);
  });
});

describe('what is too much', () => {
  test('is refused: a large body, announced or not, and a compressed one', async () => {
    const url = await hook({}, echo);
    const announced = await raw('POST', new URL(url).pathname, { 'content-length': String(2 ** 20 + 1) });
    expect([announced.status, announced.headers.connection, JSON.parse(announced.body)]).toEqual([
      413,
      'close',
      { error: expect.objectContaining({ code: 'TOO_LARGE' }) },
    ]);
    for (const size of [2 ** 20 + 1, 8 * 2 ** 20]) {
      expect(await raw('POST', new URL(url).pathname, {}, Buffer.alloc(size))).toMatchObject({ status: 413 });
    }
    const compressed = await raw('POST', new URL(url).pathname, { 'content-encoding': 'gzip' }, gzipSync('{}'));
    expect(compressed.status).toBe(415);
    expect((await fetch(url, { method: 'POST', body: 'x'.repeat(1_000_000), headers: { 'content-type': 'text/plain' } })).status).toBe(202);
    expect((await fetch(url, { method: 'POST', body: Buffer.alloc(1_000_000) })).status).toBe(413);
  });
});

test("a caller who leaves in the middle is nobody's problem", async () => {
  const url = await hook({ respond: 'lastNode' }, { id: 'get', type: 'httpRequest', properties: { url: 'http://nowhere.invalid/' } });
  const waiting = new AbortController();
  const answer = fetch(url, { ...json({}), signal: waiting.signal });
  await expect.poll(() => runsOf(`/p${paths}`)).toHaveLength(1);
  waiting.abort();
  await expect(answer).rejects.toThrow('aborted');
  const sending = httpRequest(url, { method: 'POST', headers: { 'content-length': '100' } }).on('error', () => undefined);
  sending.write('half');
  await new Promise((resolve) => sending.once('socket', (socket) => socket.once('connect', resolve)));
  sending.destroy();
  expect((await fetch(url)).status).toBe(405);
});

test('without a database the answer is 503, and when to try again', async () => {
  const nowhere = await serve('postgres://flowgres_intake:x@127.0.0.1:1/nowhere');
  const response = await fetch(`${nowhere}/hooks/${organization.webhookKey}/p1`, json({}));
  expect([response.status, response.headers.get('retry-after'), await response.json()]).toEqual([
    503,
    '1',
    { error: expect.objectContaining({ code: 'UNAVAILABLE' }) },
  ]);
});

/** A request as it is written, without a client that tidies it up. */
function raw(
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body?: Buffer,
): Promise<{ status: number; headers: IncomingMessage['headers']; body: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(origin, { method, path, headers }, (response) => {
      let text = '';
      response
        .on('data', (chunk) => (text += chunk))
        .on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }));
    });
    request.on('error', reject);
    if (body) request.write(body);
    if (!headers['content-length']) request.end();
    else request.flushHeaders();
  });
}

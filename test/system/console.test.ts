/**
 * The console in a browser: what a person does from the first start to a repaired run, every page for people who
 * use a keyboard or a screen reader, and nothing that the policy of the page refuses. Screenshots: .artifacts/.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { type Browser, type BrowserContext, type Page, chromium } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Cli, type Connection, endCli, ready, spawnCli } from '../helpers/cli.ts';
import { roomyFolder } from '../helpers/server.ts';
import { suite } from './packages.ts';

const SCREENSHOTS = fileURLToPath(new URL('../../.artifacts/console/', import.meta.url));
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
/** Texts that would become markup or a script where a page showed them as anything but text. */
const HOSTILE = [
  '<img src=x onerror="window.hit=1">',
  '"><script>window.hit=1</script>',
  'javascript:window.hit=1',
  '{{constructor}}',
  '</style><svg onload=hit=1>',
];

let folder: string;
let cli: Cli;
let connection: Connection;
let browser: Browser;
let origin: string;
const problems: string[] = [];

suite('the console in Chromium', ['chromium'], () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(await roomyFolder(), `flowgres-test-${process.pid}-console-`));
    cli = spawnCli(['start'], { FLOWGRES_DATA: folder });
    connection = await ready(cli, folder);
    origin = new URL(connection.graphqlUrl).origin;
    mkdirSync(SCREENSHOTS, { recursive: true });
    browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
  });
  afterAll(async () => {
    await browser?.close();
    await endCli(cli);
    await rm(folder, { recursive: true, force: true });
  });

  describe('what people do', journeys);
  describe('what must not happen', hazards);
  describe('every page', pages);

  test('no page had an error or was refused something by its policy', () => {
    expect(problems).toEqual([]);
  });
});

function journeys(): void {
  test('the printed link signs in, and its token is gone from the address and the history at once', async () => {
    const page = await signedIn();
    expect(page.url()).not.toContain('token');
    await expect.poll(() => page.url()).toBe(`${origin}/runs`);
    await page.goBack();
    expect(page.url()).not.toContain('token');
    expect(await page.context().cookies()).toEqual([]);
    await closeOf(page);
  });

  test('a person registers, begins with a template, publishes it, calls its webhook and sees the run', async () => {
    const page = await open('/');
    await page.getByRole('button', { name: 'Make an account' }).click();
    await page.getByLabel('Name').fill('Ada');
    await page.getByLabel('E-mail').fill('ada@example.org');
    await page.getByLabel('Password').fill('correct horse battery');
    await page.getByRole('button', { name: 'Mail me a code' }).click();
    await page.getByRole('textbox', { name: 'Code' }).fill(await mailedCode(connection, 'ada@example.org'));
    await page.getByRole('button', { name: 'Make the account' }).click();
    await page.getByLabel('Password').fill('correct horse battery');
    await page.getByRole('button', { name: 'Sign in' }).click();

    await page.getByLabel('Name', { exact: true }).fill('Analytical Engines');
    await page.getByRole('button', { name: 'Make an organization' }).click();
    await page.getByRole('link', { name: 'Choose a template' }).click();
    await page.getByRole('button', { name: 'Use this: Answer a webhook' }).click();
    const definition = page.getByLabel('Definition (JSON)');
    await definition.fill((await definition.inputValue()).replace('"/hello"', '"/greet"'));
    await page.locator('.save-state', { hasText: /^Saved$/ }).waitFor();
    await page.getByText('No problem: it can be published.').waitFor();
    await page.getByRole('button', { name: 'Publish' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Publish' }).click();
    await page.getByText('version 1').waitFor();

    await page.getByRole('tab', { name: 'Overview' }).click();
    const url = (await page.locator('.address code').textContent())!;
    expect(url).toMatch(/\/greet$/);
    const answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"name": "Grace"}' });
    expect(await answer.json()).toEqual({ hello: 'Grace' });
    await page.getByRole('link', { name: 'All runs' }).click();
    await page.getByRole('link', { name: 'Answer a webhook' }).first().click();
    await page.getByText('success').first().waitFor();
    await page.getByRole('tab', { name: 'Timeline' }).click();
    await page
      .getByRole('button', { name: /answer/ })
      .first()
      .click();
    await expect.poll(() => page.locator('.step-panel').textContent()).toContain('"Grace"');
    await closeOf(page);
  });

  test('a run is followed live: it waits, is approved, and ends; a failed one is retried', async () => {
    const page = await signedIn('/workflows?templates=1');
    await page.getByRole('button', { name: 'Use this: Ask for approval' }).click();
    await page.getByRole('button', { name: 'Publish' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Publish' }).click();
    await page.getByText('version 1').waitFor();
    await page.getByRole('button', { name: 'Run' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Run' }).click();
    await page.locator('.run-head .status.waiting').waitFor();
    await page.locator('.react-flow__node', { hasText: 'approval' }).click();
    await page.getByRole('button', { name: 'Approve' }).click();
    await page.locator('.run-head .status.success').waitFor();
    await expect.poll(() => page.locator('.step-node.success').count()).toBe(3);

    const failing = {
      nodes: [
        { id: 'start', type: 'apiTrigger' },
        { id: 'stop', type: 'stopAndError', properties: { message: 'no' } },
      ],
      connections: [{ source: 'start', target: 'stop' }],
    };
    const made = await send('mutation($d:JSON!){createWorkflow(input:{name:"Failing",definition:$d}){workflow{id}}}', { d: failing });
    const { id } = (made['createWorkflow'] as unknown as { workflow: { id: string } }).workflow;
    await send('mutation($id:UUID!){publishWorkflow(input:{workflowId:$id}){workflowVersion{version}}}', { id });
    await send('mutation($id:UUID!){startWorkflowRun(input:{workflowId:$id}){workflowRun{id}}}', { id });
    await page.goto(`${origin}/runs?status=error&workflow=${id}`);
    await page.getByRole('link', { name: 'Failing' }).click();
    await page.locator('.run-head .status.error').waitFor();
    await page.getByRole('button', { name: 'Retry' }).click();
    await page.getByText('Retry of').waitFor();
    await closeOf(page);
  });
}

function hazards(): void {
  test('two tabs that edit the same workflow see both versions, and nothing is lost', async () => {
    const page = await signedIn('/workflows?templates=1');
    await page.getByRole('button', { name: 'Use this: Decide and log' }).click();
    const mine = page.getByLabel('Definition (JSON)');
    await mine.waitFor();
    const id = /workflows\/([\w-]+)/.exec(page.url())![1]!;
    await send('mutation($id:UUID!,$d:JSON!){saveWorkflow(input:{workflowId:$id,definition:$d,expectedRevision:1}){workflow{revision}}}', {
      id,
      d: { nodes: [{ id: 'theirs', type: 'apiTrigger' }], connections: [] },
    });
    await mine.fill('{"nodes": [{"id": "mine", "type": "apiTrigger"}], "connections": []}');
    await page.getByRole('alert').getByText('Somebody else has saved this workflow meanwhile.').waitFor();
    await expect.poll(() => page.getByRole('alert').textContent()).toContain('theirs');
    await page.getByRole('button', { name: 'Keep mine' }).click();
    await page.locator('.save-state', { hasText: /^Saved$/ }).waitFor();
    await closeOf(page);
  });

  test('text of runs stays text, whatever it is', async () => {
    const nodes = [
      { id: 'start', type: 'apiTrigger' },
      { id: 'note', type: 'log', properties: { message: '{{ $.prev.text }}', context: '{{ $.prev }}' } },
    ];
    const definition = { nodes, connections: [{ source: 'start', target: 'note' }] };
    const made = await send('mutation($d:JSON!,$n:String!){createWorkflow(input:{name:$n,description:$n,definition:$d}){workflow{id}}}', {
      d: definition,
      n: HOSTILE[0],
    });
    const { id } = (made['createWorkflow'] as unknown as { workflow: { id: string } }).workflow;
    await send('mutation($id:UUID!){publishWorkflow(input:{workflowId:$id}){workflowVersion{version}}}', { id });
    const input = { text: HOSTILE.join(' '), ...Object.fromEntries(HOSTILE.map((text) => [text, text])) };
    const started = await send('mutation($id:UUID!,$i:JSON){startWorkflowRun(input:{workflowId:$id,input:$i}){workflowRun{id}}}', {
      id,
      i: input,
    });
    const run = (started['startWorkflowRun'] as unknown as { workflowRun: { id: string } }).workflowRun.id;
    const page = await signedIn();
    for (const path of [
      '/runs',
      '/workflows',
      `/workflows/${id}?tab=edit`,
      ...['graph', 'timeline', 'log', 'data'].map((tab) => `/runs/${run}?tab=${tab}&step=note`),
    ]) {
      await page.goto(`${origin}${path}`);
      await expect.poll(() => page.locator('main').textContent()).toContain(HOSTILE[0]);
      await expect.poll(() => page.locator('.skeleton').count()).toBe(0);
    }
    expect(await page.evaluate('window.hit')).toBeUndefined();
    await closeOf(page);
  });

  test('a server that is away is said, and the page goes on when it is back', async () => {
    const page = await signedIn('/runs');
    await page.getByRole('link', { name: 'order-intake' }).first().waitFor();
    await page.context().setOffline(true);
    await page.getByText('The server does not answer.').first().waitFor();
    await page.context().setOffline(false);
    await expect.poll(() => page.getByText('The server does not answer.').count()).toBe(0);
    await closeOf(page);
  });
}

function pages(): void {
  test.each([
    ['light', 1280, /^.(?:runs|nowhere)/],
    ['light', 1280, /^.workflows/],
    ['light', 1280, /^.(?:triggers|credentials|variables|organization)/],
    // Narrow and dark: a page of each kind.
    ['dark', 390, /^(?!.*tab=(?!timeline|edit|plan))/],
  ] as const)('every page is usable without sight and mouse: %s, %i px, %s', async (colorScheme, width, wanted) => {
    const page = await signedIn('/workflows', { colorScheme, viewport: { width, height: 800 } });
    const workflow = await page.getByRole('link', { name: 'order-intake' }).getAttribute('href');
    await page.goto(`${origin}/runs`);
    const run = await page.getByRole('link', { name: 'order-intake' }).first().getAttribute('href');
    const session = await page.context().newCDPSession(page);
    const paths = [
      '/runs',
      ...['graph', 'timeline', 'log', 'data', 'compare'].map((tab) => `${run}?tab=${tab}&step=note`),
      '/workflows',
      '/workflows?templates=1',
      ...['overview', 'edit', 'versions'].map((tab) => `${workflow}?tab=${tab}`),
      ...['webhooks', 'schedules', 'deliveries'].map((tab) => `/triggers?tab=${tab}`),
      '/credentials',
      '/variables',
      ...['members', 'teams', 'tokens', 'plan', 'audit'].map((tab) => `/organization?tab=${tab}`),
      '/nowhere',
    ];
    for (const path of paths.filter((each) => wanted.test(each))) {
      await page.goto(`${origin}${path}`);
      await page.locator('main h1, main h2').first().waitFor();
      await expect.poll(() => page.locator('.skeleton').count()).toBe(0);
      // By the protocol of the developer tools: the policy of the page refuses scripts that are put into it.
      await session.send('Runtime.evaluate', { expression: AXE });
      const found = await page.evaluate(
        `axe.run(document, { runOnly: ${JSON.stringify(RULES)} }).then(({ violations }) =>
          violations.map(({ id, nodes }) => id + ': ' + nodes.map(({ target }) => target.join(' ')).join(', ')))`,
      );
      expect([path, found]).toEqual([path, []]);
      const wider = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
      expect([path, Number(wider) > 0]).toEqual([path, false]);
      await page.screenshot({
        path: join(SCREENSHOTS, `${colorScheme}${path.replaceAll(/[0-9a-f-]{36}/g, 'id').replaceAll(/\W+/g, '-')}.png`),
      });
    }
    await closeOf(page);
  });
}

async function open(path: string, options: Parameters<Browser['newContext']>[0] = {}): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  // What the policy refuses is an error in the console of the browser.
  page.on('console', (message) => {
    // A test takes the network away.
    const isExpected = message.text().includes('ERR_INTERNET_DISCONNECTED');
    if (message.type() === 'error' && !isExpected) problems.push(`${path}: ${message.text()}`);
  });
  page.on('pageerror', (error) => problems.push(`${path}: ${error.message}`));
  await page.goto(`${origin}${path}`);
  return page;
}
const signedIn = async (path = '', options?: Parameters<typeof open>[1]) => {
  const page = await open(`/#token=${connection.token}`, options);
  await page.getByRole('navigation').waitFor();
  if (path) await page.goto(`${origin}${path}`);
  return page;
};
const send = async (query: string, variables: Record<string, unknown> = {}) => {
  const answer = await fetch(connection.graphqlUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${connection.token}` },
    body: JSON.stringify({ query, variables }),
  });
  return ((await answer.json()) as { data: Record<string, never> }).data;
};
const closeOf = (page: Page) => (page.context() as BrowserContext).close();

/** The code that was mailed to somebody, as a DBA reads it from the outbox. */
async function mailedCode({ databaseUrl }: Connection, recipient: string): Promise<string> {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  try {
    const read = async () =>
      (await client.query('select body from engine.unsent_mails() where recipient = $1', [recipient])).rows[0]?.body as string | undefined;
    await expect.poll(read).toBeDefined();
    return /code is (\S+)/.exec((await read())!)![1]!;
  } finally {
    await client.end();
  }
}

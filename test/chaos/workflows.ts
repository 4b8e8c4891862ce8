/**
 * What runs under chaos: up to 6 steps each, with branches, joins, waits, children, and calls to a world that often fails;
 * a fifth is done when its webhook is answered.
 */
import type { Definition } from '../helpers/factory.ts';

const RETRY = { maxAttempts: 15, initialMs: 100, maxMs: 1_000 };

/** Codes that a run may end with, as some answers of the world cannot be tried again. */
export const EXPECTED_ERRORS = ['TOO_LARGE', 'TOO_MANY_REDIRECTS', 'REDIRECT', 'POISON'];

export interface Workflow extends Definition {
  name: string;
  /** How many of 20 webhooks start it; none where another workflow does. */
  share: number;
}

/** In the order in which they are to be published. */
export function workflows(host: string): Workflow[] {
  const hook = (path: string) => ({
    id: 'hook',
    type: 'webhookTrigger',
    properties: { path, method: 'POST', respond: 'immediately', dedupeHeader: 'idempotency-key' },
  });
  const call = (id: string, more = {}) => ({
    id,
    type: 'httpRequest',
    properties: { method: 'POST', url: `http://${host}/${id}`, body: { key: '{{ $.nodes.hook.key }}' } },
    retry: RETRY,
    timeoutMs: 2_000,
    ...more,
  });
  const line = (...ids: string[]) => ids.slice(1).map((target, place) => ({ source: ids[place]!, target }));
  return [
    {
      name: 'pure',
      share: 4,
      nodes: [hook('/pure'), { id: 'done', type: 'set', properties: { assign: { key: '{{ $.nodes.hook.key }}' } } }],
      connections: line('hook', 'done'),
    },
    {
      name: 'piece',
      share: 0,
      nodes: [
        { id: 'start', type: 'subworkflowTrigger' },
        call('piece', { onError: 'continue', properties: { url: `http://${host}/piece` } }),
      ],
      connections: line('start', 'piece'),
    },
    {
      name: 'pieces',
      share: 2,
      nodes: [
        hook('/pieces'),
        { id: 'each', type: 'forEach', properties: { workflow: 'piece', items: [1, 2, 3], concurrency: 2 } },
        call('last'),
      ],
      connections: line('hook', 'each', 'last'),
    },
    {
      name: 'branch',
      share: 5,
      nodes: [
        hook('/branch'),
        call('first'),
        { id: 'even', type: 'if', properties: { when: '$.nodes.hook.number % 2 == 0' } },
        call('left', { onError: 'continue' }),
        call('right'),
        { id: 'joined', type: 'merge', properties: { mode: 'append' } },
        { id: 'done', type: 'set', properties: { assign: { key: '{{ $.nodes.hook.key }}' } } },
      ],
      connections: [
        ...line('hook', 'first', 'even'),
        { source: 'even', target: 'left', sourceOutput: 'true' },
        { source: 'even', target: 'right', sourceOutput: 'false' },
        ...line('left', 'joined', 'done'),
        ...line('right', 'joined'),
      ],
    },
    {
      name: 'parallel',
      share: 3,
      nodes: [
        hook('/parallel'),
        call('one'),
        call('two'),
        { id: 'joined', type: 'merge', properties: { mode: 'append' } },
        { id: 'nap', type: 'wait', properties: { seconds: '{{ $.nodes.hook.seconds }}' } },
        call('last'),
      ],
      connections: [...line('hook', 'one', 'joined', 'nap', 'last'), ...line('hook', 'two', 'joined')],
    },
    {
      name: 'steps',
      share: 6,
      nodes: [
        hook('/steps'),
        { id: 'given', type: 'set', properties: { assign: { key: '{{ $.prev.key }}' } } },
        call('first'),
        call('second', { onError: 'errorOutput' }),
        { id: 'fine', type: 'set', properties: { assign: { fine: true } } },
        { id: 'sorry', type: 'set', properties: { assign: { fine: false } } },
      ],
      connections: [...line('hook', 'given', 'first', 'second', 'fine'), { source: 'second', sourceOutput: 'error', target: 'sorry' }],
    },
  ];
}

/** Its step kills every worker that takes it. */
export const POISONOUS: Definition = {
  nodes: [
    { id: 'start', type: 'apiTrigger' },
    { id: 'poison', type: 'poison' },
  ],
  connections: [{ source: 'start', target: 'poison' }],
};

/** Started by the clock. */
export const TICKING: Definition = {
  nodes: [
    { id: 'tick', type: 'scheduleTrigger', properties: { every: { n: 5, unit: 'seconds' } } },
    { id: 'seen', type: 'set', properties: { assign: { seen: true } } },
  ],
  connections: [{ source: 'tick', target: 'seen' }],
};

/** Small workflows to begin with, for organizations that have no templates of their own. */

/** A workflow that the page offers. */
export interface Starter {
  name: string;
  description: string;
  definition: unknown;
}

/** In the order in which they are offered. */
export const STARTERS: readonly Starter[] = [
  {
    name: 'Answer a webhook',
    description: 'A request comes in, the answer is made from it.',
    definition: {
      nodes: [
        {
          id: 'request',
          type: 'webhookTrigger',
          properties: { path: '/hello', method: 'POST', authentication: 'none', respond: 'lastNode' },
        },
        { id: 'answer', type: 'transform', properties: { template: { hello: '{{ $.prev.name }}' } } },
      ],
      connections: [{ source: 'request', target: 'answer' }],
    },
  },
  {
    name: 'Decide and log',
    description: 'Started by hand or through the API: large orders are logged, others are accepted.',
    definition: {
      nodes: [
        { id: 'start', type: 'apiTrigger' },
        { id: 'large', type: 'if', properties: { when: '$.prev.total > 100' } },
        { id: 'note', type: 'log', properties: { message: 'A large order of {{ $.prev.total }}' } },
        { id: 'accept', type: 'set', properties: { assign: { status: 'accepted' } } },
      ],
      connections: [
        { source: 'start', target: 'large' },
        { source: 'large', sourceOutput: 'true', target: 'note' },
        { source: 'large', sourceOutput: 'false', target: 'accept' },
      ],
    },
  },
  {
    name: 'Ask for approval',
    description: 'The run waits until somebody approves or rejects it in the console.',
    definition: {
      nodes: [
        { id: 'start', type: 'apiTrigger' },
        { id: 'approval', type: 'wait', properties: { approval: { role: 'member' }, timeoutSeconds: 86_400 } },
        { id: 'done', type: 'set', properties: { assign: { status: 'approved' } } },
      ],
      connections: [
        { source: 'start', target: 'approval' },
        { source: 'approval', sourceOutput: 'approved', target: 'done' },
      ],
    },
  },
];

/** Exports of n8n that mean something Flowgres cannot say, and where their problems are. */
import { type Document, branch, branches, conditions, line, node, setV, to } from './documents.ts';

const http = (parameters: object, version = 4.2) =>
  line(node('Call', 'httpRequest', version, { url: 'https://api.example', ...parameters }));
const respond = (parameters: object) => line(node('Answer', 'respondToWebhook', 1.1, parameters));
const merge = (parameters: object): Document => ({
  nodes: [...line().nodes, node('A', 'noOp', 1), node('B', 'noOp', 1), node('Both', 'merge', 3, parameters)],
  connections: {
    In: to(['A', 'B']),
    A: { main: [[{ node: 'Both', type: 'main', index: 0 }]] },
    B: { main: [[{ node: 'Both', type: 'main', index: 1 }]] },
  },
});
const schedule = (...interval: object[]): Document => ({
  nodes: [node('Clock', 'scheduleTrigger', 1.2, { rule: { interval } })],
  connections: {},
  settings: { timezone: 'Europe/Berlin' },
});
const webhook = (parameters: object): Document => ({
  nodes: [node('Hook', 'webhook', 2, { path: 'x', responseMode: 'lastNode', ...parameters })],
  connections: {},
});

/** [export, JSON pointer of its problem]; with `stub` the node has no counterpart at all. */
export const NOTES: Record<string, [doc: Document, pointer: string, stub?: 'stub']> = {
  'an app': [line(node('Post', 'slack', 2, { text: 'Hi' })), '/nodes/1', 'stub'],
  JavaScript: [setV('={{ $json.items.map((item) => item.id) }}'), '/nodes/1/parameters/assignments/assignments/0/value'],
  '.length': [setV('={{ $json.items.length }}'), '/nodes/1/parameters/assignments/assignments/0/value'],
  $now: [setV('={{ $now }}'), '/nodes/1/parameters/assignments/assignments/0/value'],
  'JSON.stringify': [setV('={{ JSON.stringify($json.a) }}'), '/nodes/1/parameters/assignments/assignments/0/value'],
  'replace of the first': [setV("={{ $json.a.replace('-', '+') }}"), '/nodes/1/parameters/assignments/assignments/0/value'],
  'an expression that is not closed': [setV('={{ $json.a'), '/nodes/1/parameters/assignments/assignments/0/value'],
  'includeOtherFields as an expression': [
    line(node('Out', 'set', 3.4, { includeOtherFields: '={{ true }}' })),
    '/nodes/1/parameters/includeOtherFields',
  ],
  'conversion errors that are ignored': [
    line(node('Out', 'set', 3.4, { options: { ignoreConversionErrors: true } })),
    '/nodes/1/parameters/options/ignoreConversionErrors',
  ],
  'a number that is none': [
    line(node('Out', 'set', 3.4, { assignments: { assignments: [{ name: 'n', value: 'x', type: 'number' }] } })),
    '/nodes/1/parameters/assignments/assignments/0',
  ],
  'a type that nobody knows': [
    line(node('Out', 'set', 3.4, { assignments: { assignments: [{ name: 'n', value: '={{ $json.a }}', type: 'dateTime' }] } })),
    '/nodes/1/parameters/assignments/assignments/0',
  ],
  'dots beside other fields': [
    line(
      node('Out', 'set', 3.4, { includeOtherFields: true, assignments: { assignments: [{ name: 'a.b', value: 'x', type: 'string' }] } }),
    ),
    '/nodes/1/parameters/assignments/assignments/0',
  ],

  'times that are compared': [
    branch({ type: 'dateTime', operation: 'after', right: '2026-01-01' }),
    '/nodes/1/parameters/conditions/conditions/0',
    'stub',
  ],
  'a time that is there': [branch({ type: 'dateTime', operation: 'notEmpty' }), '/nodes/1/parameters/conditions/conditions/0', 'stub'],
  '.length in a condition': [
    branches(node('If', 'if', 2.2, conditions({ type: 'number', operation: 'gt', right: 0 }, '={{ $json.items.length }}'))),
    '/nodes/1/parameters/conditions/conditions/0',
    'stub',
  ],
  '$now in a body': [
    http({ method: 'POST', sendBody: true, specifyBody: 'json', jsonBody: '={"at": "{{ $now.toISO() }}"}' }),
    '/nodes/1/parameters/jsonBody',
  ],
  'a time of day': [setV('={{ $today }}'), '/nodes/1/parameters/assignments/assignments/0/value'],
  'a regular expression': [
    branch({ type: 'string', operation: 'regex', right: 'a+' }),
    '/nodes/1/parameters/conditions/conditions/0',
    'stub',
  ],
  'a condition that is a program': [
    branches(node('If', 'if', 2.2, conditions({ type: 'boolean', operation: 'true' }, '={{ $json.a > 5 }}'))),
    '/nodes/1/parameters/conditions/conditions/0',
    'stub',
  ],
  'times in an old if': [
    branches(node('If', 'if', 1, { conditions: { dateTime: [{ value1: '={{ $json.at }}', value2: '2026-01-01' }] } })),
    '/nodes/1/parameters/conditions/dateTime/0/value1',
    'stub',
  ],
  'all outputs that match': [
    line(node('Way', 'switch', 3.2, { rules: { values: [] }, options: { allMatchingOutputs: true } })),
    '/nodes/1/parameters/options/allMatchingOutputs',
    'stub',
  ],
  'a switch by an expression': [
    line(node('Way', 'switch', 3.2, { mode: 'expression', output: '={{ 1 }}' })),
    '/nodes/1/parameters/mode',
    'stub',
  ],

  'a multipart body': [
    http({ method: 'POST', sendBody: true, contentType: 'multipart-form-data' }),
    '/nodes/1/parameters/contentType',
    'stub',
  ],
  'a body that is not sent': [http({ method: 'POST', sendBody: false, jsonBody: '{}' }), '/nodes/1/parameters/sendBody'],
  'a body of code': [
    http({ method: 'POST', sendBody: true, specifyBody: 'json', jsonBody: '={{ $json.items.map(String) }}' }),
    '/nodes/1/parameters/jsonBody',
    'stub',
  ],
  'a name that comes twice': [
    http({
      sendQuery: true,
      queryParameters: {
        parameters: [
          { name: 'a', value: '1' },
          { name: 'a', value: '2' },
        ],
      },
    }),
    '/nodes/1/parameters/queryParameters/parameters/1/name',
  ],
  credentials: [http({ authentication: 'genericCredentialType', genericAuthType: 'httpBasicAuth' }), '/nodes/1/parameters/authentication'],
  pages: [
    http({ options: { pagination: { pagination: { limitPagesFetched: true } } } }),
    '/nodes/1/parameters/options/pagination/pagination/limitPagesFetched',
  ],
  'errors that are none': [
    http({ options: { response: { response: { neverError: true } } } }),
    '/nodes/1/parameters/options/response/response/neverError',
  ],
  'a list that may arrive': [line(node('Call', 'httpRequest', 4.2, { url: 'https://api.example' }), node('Out', 'noOp', 1)), '/nodes/1'],
  'other attempts': [line(node('Call', 'httpRequest', 4.2, { url: 'https://api.example' }, { retryOnFail: true })), '/nodes/1/retryOnFail'],
  'the error as an item': [
    line(node('Call', 'httpRequest', 4.2, { url: 'https://api.example' }, { onError: 'continueRegularOutput' })),
    '/nodes/1/onError',
  ],
  'output always': [line(node('Out', 'noOp', 1, {}, { alwaysOutputData: true })), '/nodes/1/alwaysOutputData'],
  'credentials of a node': [
    line(node('Out', 'noOp', 1, {}, { credentials: { httpBasicAuth: { id: '1', name: 'x' } } })),
    '/nodes/1/credentials',
  ],
  'a disabled node': [line(node('Out', 'noOp', 1, {}, { disabled: true })), '/nodes/1/disabled'],

  'an answer by JWT': [respond({ respondWith: 'jwt' }), '/nodes/1/parameters/respondWith', 'stub'],
  'an answer of code': [respond({ respondWith: 'text', responseBody: '={{ $json.a.b() }}' }), '/nodes/1/parameters/respondWith', 'stub'],
  'an answer at once': [webhook({ responseMode: 'onReceived' }), '/nodes/0/parameters/responseMode'],
  'all entries': [webhook({ responseData: 'allEntries' }), '/nodes/0/parameters/responseData'],
  'a webhook with a password': [webhook({ authentication: 'basicAuth' }), '/nodes/0/parameters/authentication', 'stub'],
  'several methods': [webhook({ multipleMethods: true, httpMethod: ['GET', 'POST'] }), '/nodes/0/parameters/multipleMethods', 'stub'],

  'what does not match': [merge({ mode: 'combine', fieldsToMatchString: 'k', joinMode: 'keepNonMatches' }), '/nodes/3/parameters', 'stub'],
  'the data of one input': [merge({ mode: 'chooseBranch', useDataOfInput: '2' }), '/nodes/3/parameters/useDataOfInput', 'stub'],
  'a loop': [line(node('Loop', 'splitInBatches', 3, { batchSize: 10 })), '/nodes/1', 'stub'],
  'a wait for a webhook': [line(node('Pause', 'wait', 1.1, { resume: 'webhook' })), '/nodes/1/parameters/resume', 'stub'],
  'a workflow of n8n': [
    line(node('Sub', 'executeWorkflow', 1.2, { workflowId: { __rl: true, mode: 'list', value: 'x1', cachedResultName: 'Price' } })),
    '/nodes/1/parameters/workflowId',
  ],
  'an error as an object': [
    line(node('Stop', 'stopAndError', 1, { errorType: 'errorObject', errorObject: '{}' })),
    '/nodes/1/parameters/errorType',
    'stub',
  ],

  'a second interval': [
    schedule({ field: 'days', triggerAtHour: 9 }, { field: 'days', triggerAtHour: 17 }),
    '/nodes/0/parameters/rule/interval/1',
  ],
  'every other week': [schedule({ field: 'weeks', weeksInterval: 2, triggerAtDay: [1] }), '/nodes/0/parameters/rule/interval/0', 'stub'],
  'every third day': [schedule({ field: 'days', daysInterval: 3 }), '/nodes/0/parameters/rule/interval/0', 'stub'],
  '90 minutes': [schedule({ field: 'minutes', minutesInterval: 90 }), '/nodes/0/parameters/rule/interval/0', 'stub'],
  'a cron with seconds': [schedule({ field: 'cronExpression', expression: '30 0 9 * * *' }), '/nodes/0/parameters/rule/interval/0', 'stub'],
  'a schedule without a time zone': [{ ...schedule({ field: 'days' }), settings: {} }, '/settings/timezone'],
  'the item of a schedule': [
    {
      nodes: [
        ...schedule({ field: 'hours' }).nodes,
        node('Same', 'noOp', 1),
        node('Out', 'set', 3.4, { assignments: { assignments: [{ name: 'v', value: '={{ $json.timestamp }}', type: 'string' }] } }),
      ],
      connections: { Clock: to(['Same']), Same: to(['Out']) },
    },
    '/nodes/2/parameters/assignments/assignments/0/value',
  ],

  'a workflow for errors': [{ ...line(), settings: { errorWorkflow: 'x1' } }, '/settings/errorWorkflow'],
  'a setting that nobody knows': [{ ...line(), settings: { binaryMode: 'separate' } }, '/settings/binaryMode'],
  'runs that are not kept': [{ ...line(), settings: { saveDataSuccessExecution: 'none' } }, '/settings/saveDataSuccessExecution'],
  'a connection of another kind': [
    { ...line(node('Out', 'noOp', 1)), connections: { In: { ai_tool: [[{ node: 'Out', type: 'ai_tool', index: 0 }]] } } },
    '/connections/In/ai_tool/0/0',
  ],
  'a connection to nothing': [{ ...line(), connections: { In: to(['Gone']) } }, '/connections/In/main/0/0'],
  'an output that is not there': [{ ...line(node('Out', 'noOp', 1)), connections: { In: to([], ['Out']) } }, '/connections/In/main/1/0'],
  'several ways to one node': [
    {
      nodes: [...line().nodes, node('A', 'noOp', 1), node('B', 'noOp', 1), node('Out', 'noOp', 1)],
      connections: { In: to(['A', 'B']), A: to(['Out']), B: to(['Out']) },
    },
    '/nodes/3',
  ],
};

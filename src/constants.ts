/**
 * The limits of the processes, each in one place: what a caller meets, not how a part of the program paces itself.
 * `npm run docs` makes the table in docs/reference/limits.md of them. Those of the schema are in
 * sql/00_foundation/limits.sql.
 */

/** A limit, with what the documentation says of it. */
export interface Limit<V extends number | string = number | string> {
  readonly value: V;
  /** `ms`, `bytes`, or what is counted. Of a text it is part of the value. */
  readonly unit: string;
  /** Who meets it. */
  readonly caller: string;
  readonly what: string;
  /** The setting whose default it is. */
  readonly setting?: string;
}

const limit = (value: number, unit: string, caller: string, what: string, setting?: string): Limit<number> =>
  setting === undefined ? { value, unit, caller, what } : { value, unit, caller, what, setting };
const time = (value: string, caller: string, what: string): Limit<string> => ({ value, unit: 'time', caller, what });

export const CONSTANTS = {
  json: {
    maxDepth: limit(64, 'levels', 'anybody', 'arrays and objects inside of each other; the schema has the same limit'),
    maxNumberLength: limit(1_000, 'characters', 'anybody', 'a number in a JSON text'),
  },
  graphql: {
    defaultPage: limit(50, 'rows', 'anybody', 'a page when the query does not say how many'),
    nestedPage: limit(10, 'rows', 'anybody', 'the same, for a list that is read for each row of another list'),
    maxPage: limit(200, 'rows', 'anybody', 'a page'),
    maxOffset: limit(10_000, 'rows', 'anybody', 'that a query skips; skipping costs as much as reading, cursors do not'),
    maxDepth: limit(12, 'levels', 'anybody', 'fields inside of each other'),
    maxAliases: limit(30, 'aliases', 'anybody', 'in a document'),
    maxTokens: limit(2_500, 'tokens', 'with a token', 'words and signs of a document', 'FLOWGRES_MAX_TOKENS'),
    maxAnonymousTokens: limit(500, 'tokens', 'without a token', 'words and signs of a document', 'FLOWGRES_ANONYMOUS_MAX_TOKENS'),
    maxNesting: limit(64, 'levels', 'anybody', 'brackets inside of brackets'),
    maxVariableDepth: limit(72, 'levels', 'anybody', 'a variable: 64 levels of JSON, and what they stand in'),
    maxDefinitions: limit(100, 'definitions', 'anybody', 'operations and fragments of a document'),
    maxSelections: limit(150, 'fields', 'anybody', 'that stand beside each other'),
    maxSpreads: limit(200, 'uses', 'anybody', 'of fragments, also inside of other fragments'),
    maxDirectives: limit(50, 'directives', 'anybody', 'in a document'),
    maxRepetitions: limit(
      20_000,
      'pairs',
      'anybody',
      'of fields that ask for the same place of the answer: validating compares each with each',
    ),
    maxCost: limit(10_000, 'objects', 'anybody', 'that an answer may have, estimated before it is executed', 'FLOWGRES_MAX_COST'),
    maxBodyBytes: limit(256 * 1024, 'bytes', 'without a token', 'a request, and a message on a WebSocket'),
    maxTokenBodyBytes: limit(
      2 * 1024 * 1024,
      'bytes',
      'with a token',
      'a request: a definition or an input of 1 MiB, however its client escapes it',
    ),
    maxDocumentBytes: limit(256 * 1024, 'bytes', 'anybody', 'the document; definitions and inputs belong into variables'),
    statementTimeout: time('5s', 'anybody', 'a request in the database'),
    testTimeout: time('2s', 'anybody', 'testWorkflow in the database'),
    maxSockets: limit(20, 'WebSockets', 'anybody', 'of one token, or of one address without a token'),
    maxSubscriptions: limit(100, 'operations', 'anybody', 'that one WebSocket has at a time'),
    maxUnreadBytes: limit(4 * 1024 * 1024, 'bytes', 'anybody', 'that the client of a WebSocket leaves unread before it is cut off'),
  },
  rates: {
    perToken: limit(100, 'requests', 'with a token', 'a second', 'FLOWGRES_RATE_LIMIT'),
    perAddress: limit(10, 'requests', 'without a token', 'a second, of one address', 'FLOWGRES_ANONYMOUS_RATE_LIMIT'),
    cpuPerToken: limit(50, 'ms', 'with a token', 'of a processor, a second, for documents', 'FLOWGRES_CPU_LIMIT'),
    cpuPerNetwork: limit(
      10,
      'ms',
      'without a token',
      'of a processor, a second, for documents of one network',
      'FLOWGRES_ANONYMOUS_CPU_LIMIT',
    ),
  },
  subscriptions: {
    perToken: limit(200, 'subscriptions', 'with a token', 'in one process', 'FLOWGRES_SUBSCRIPTIONS_PER_TOKEN'),
    perOrganization: limit(1_000, 'subscriptions', 'an organization', 'in one process', 'FLOWGRES_SUBSCRIPTIONS_PER_ORGANIZATION'),
    readsPerSecond: limit(
      200,
      'reads',
      'an organization',
      'a second, of all its subscriptions in one process',
      'FLOWGRES_SUBSCRIPTION_RATE',
    ),
  },
  cpu: {
    burstSeconds: limit(10, 'seconds', 'anybody', 'whose share of the processor a caller may spend at once, after a pause'),
    harmlessMs: limit(
      25,
      'ms',
      'anybody',
      'a document costs as much as it takes; one that takes n times as long costs n times more for each',
    ),
    mostSeconds: limit(15, 'seconds', 'anybody', 'whose share of the processor a document costs at most'),
    maxWaitMs: limit(4_000, 'ms', 'anybody', 'a document waits for its turn; when it would have to wait longer it is refused'),
    refusalMs: limit(200, 'ms', 'anybody', 'a refusal comes this late: who asks again at once does so less often'),
  },
  connections: {
    reserved: limit(2, 'connections', 'anybody', 'of the pool of the API that one caller does not get'),
    waiting: limit(100, 'statements', 'anybody', 'of one caller that wait for a connection'),
    waitMs: limit(10_000, 'ms', 'anybody', 'that a statement waits for a connection'),
  },
  httpApi: {
    maxPage: limit(200, 'items', 'anybody', 'a page of REST'),
    maxDocumentsBytes: limit(8 * 1024 * 1024, 'bytes', 'with a token', 'the workflows and variables that one request applies'),
    documentsTimeout: time('60s', 'with a token', 'a request that applies, compares or exports workflows, in the database'),
    documentsAtOnce: limit(2, 'requests', 'with a token', 'of these at a time in one process; one of a token'),
    documentsWaiting: limit(4, 'requests', 'with a token', 'of these of one token that wait'),
    documentsWaitMs: limit(30_000, 'ms', 'with a token', 'that such a request waits'),
    streams: limit(50, 'streams', 'with a token', 'of server-sent events of one token in one process; they count as subscriptions, too'),
    heartbeatMs: limit(
      15_000,
      'ms',
      'with a token',
      'between two lines of a stream without events; a client that reads none until the next is cut off',
    ),
  },
  rest: {
    afterMs: limit(100, 'ms', 'anybody', 'that work holds a connection before its place rests for as long again'),
    mostMs: limit(5_000, 'ms', 'anybody', 'that a place rests after slow work'),
  },
  passwords: {
    atOnce: limit(2, 'passwords', 'anybody', 'that a process hashes at a time'),
    registrations: limit(
      1,
      'passwords',
      'without a token',
      'of registrations that a process hashes at a time; logins have the other place',
    ),
    loginsFirst: limit(3, 'logins', 'without a token', 'that begin for each registration while both wait'),
    rest: limit(1, 'times', 'without a token', 'what the last registration took, until the next one begins'),
    waiting: limit(50, 'callers', 'anybody', 'of each kind that wait to be hashed'),
    waitingOfNetwork: limit(10, 'callers', 'anybody', 'of one network and kind that wait to be hashed'),
    maxBytes: limit(1_024, 'bytes', 'anybody', 'a password that is compared'),
    maxBodyBytes: limit(16 * 1024, 'bytes', 'anybody', 'a request to /auth'),
  },
  webhooks: {
    maxBodyBytes: limit(1024 * 1024, 'bytes', 'a webhook’s caller', 'the body of a request'),
    lookups: limit(4, 'look-ups', 'a webhook’s caller', 'of addresses at a time; one organization has half of them'),
    lookupsWaiting: limit(100, 'look-ups', 'an organization', 'that wait'),
    lookupWaitMs: limit(5_000, 'ms', 'a webhook’s caller', 'that a look-up waits'),
    routeMs: limit(1_000, 'ms', 'a webhook’s owner', 'that an address and its credential may be older than the database'),
    wrongAttempts: limit(20, 'requests', 'a webhook’s caller', 'of one network that are not authenticated, at once; then 429'),
    wrongAttemptsPerSecond: limit(1, 'requests', 'a webhook’s caller', 'of these a second, in the long run'),
    jwksBytes: limit(256 * 1024, 'bytes', 'a webhook’s owner', 'published keys that are read'),
    jwtSkewSeconds: limit(60, 'seconds', 'a webhook’s caller', 'that the clock of who made a token may be wrong'),
    deliveriesPerFlush: limit(200, 'deliveries', 'an organization', 'a second that one process lists'),
    deliveriesWaiting: limit(5_000, 'deliveries', 'all webhooks', 'that wait in one process to be listed'),
    resumes: limit(2, 'calls', 'who resumes a run', 'at a time; one of a token'),
    resumesWaiting: limit(10, 'calls', 'who resumes a run', 'of a token that wait'),
    resumeWaitMs: limit(10_000, 'ms', 'who resumes a run', 'that a call waits'),
  },
  signatures: {
    toleranceSeconds: limit(
      300,
      'seconds',
      'a webhook’s caller',
      'that a signed time may be from now, either way, when the trigger says nothing',
    ),
    maxToleranceSeconds: limit(3_600, 'seconds', 'whoever publishes a workflow', 'that a trigger may allow'),
    activeSecrets: limit(3, 'secrets', 'a webhook’s owner', 'that are active at a time, while one replaces another'),
    perRequest: limit(10, 'signatures', 'a webhook’s caller', 'of one request'),
    idLength: limit(256, 'characters', 'a webhook’s caller', 'the id of a message of Standard Webhooks'),
  },
  vault: {
    maxSecretBytes: limit(64 * 1024, 'bytes', 'whoever creates a credential', 'what is sealed, as JSON'),
    maxVariableLength: limit(16_000, 'characters', 'whoever sets a secret variable', 'its value'),
    maxKeyRingBytes: limit(64 * 1024, 'bytes', 'an operator', 'what the command of FLOWGRES_VAULT_KEYS_COMMAND prints'),
    maxTokenAnswerBytes: limit(64 * 1024, 'bytes', 'an OAuth2 provider', 'an answer with tokens'),
    tokenRequestMs: limit(20_000, 'ms', 'an OAuth2 provider', 'that it may take to answer; the lease of who asks is longer'),
    tokenWaitMs: limit(60_000, 'ms', 'a step', 'that it waits for tokens that another process renews'),
    credentialTests: limit(2, 'tests', 'an organization', 'of credentials that a process runs at a time'),
    credentialTestsOfAll: limit(
      10,
      'tests',
      'all organizations',
      'of credentials that a process runs at a time, each with an answer of at most 10 MiB',
    ),
    credentialTestMs: limit(10_000, 'ms', 'a credential’s peer', 'that it may take to answer a test'),
    tokenStoreMs: limit(300_000, 'ms', 'a step', 'that new tokens are kept in memory while the database does not answer'),
    keyCommandMs: limit(10_000, 'ms', 'an operator', 'that the command of FLOWGRES_VAULT_KEYS_COMMAND may take'),
  },
  multipart: {
    parts: limit(1_000, 'parts', 'a webhook’s caller', 'of a form'),
    files: limit(100, 'files', 'a webhook’s caller', 'of a form'),
    fieldNameSize: limit(200, 'bytes', 'a webhook’s caller', 'the name of a field'),
    headerPairs: limit(100, 'headers', 'a webhook’s caller', 'of a part'),
  },
  starts: {
    requests: limit(1_000, 'starts', 'an organization', 'that wait in one process'),
    size: limit(64 * 1024 * 1024, 'characters', 'an organization', 'of the starts that wait in one process'),
  },
  worker: {
    concurrency: limit(2_000, 'steps', 'all runs', 'in flight in one worker', 'FLOWGRES_CONCURRENCY'),
    organizationConcurrency: limit(
      200,
      'steps',
      'an organization',
      'in flight in one worker, and three times of what is free',
      'FLOWGRES_ORGANIZATION_CONCURRENCY',
    ),
    expressionTimeoutMs: limit(
      1_000,
      'ms',
      'whoever publishes a workflow',
      'the expressions of a local step',
      'FLOWGRES_EXPRESSION_TIMEOUT',
    ),
    localConnections: limit(8, 'connections', 'all runs', 'of one worker for local steps'),
    organizationLocalSteps: limit(2, 'local steps', 'an organization', 'that one worker runs at a time', 'FLOWGRES_LOCAL_STEPS'),
    localNodes: limit(
      6,
      'local steps',
      'all runs',
      'of local nodes that one worker runs at a time, half of what is free for one organization; the other connections are for expressions',
    ),
    localRecordMs: limit(10_000, 'ms', 'whoever publishes a workflow', 'that recording the result of a local step may take'),
    maxAnswerBytes: limit(128 * 1024 * 1024, 'bytes', 'a workflow’s peer', 'large answers that a worker holds at a time; others wait'),
    maxResultLength: limit(4 * 1024 * 1024, 'characters', 'a node', 'a result as text; the schema allows less'),
    maxAttemptLines: limit(1_000, 'lines', 'a node', 'that one attempt logs'),
    maxMessageLength: limit(65_536, 'characters', 'a node', 'the message of a line: what is longer is cut'),
  },
  stopping: {
    workerMs: limit(3_000, 'ms', 'a node', 'that a stopping worker waits for attempts, before it gives their steps back to the queue'),
    sqlJobsMs: limit(1_500, 'ms', 'a DBA', 'that a stopping scheduler waits for SQL jobs before it cancels them, and again after that'),
    requestsMs: limit(2_000, 'ms', 'anybody', 'that a stopping server waits for requests before it closes their connections'),
    allMs: limit(9_500, 'ms', 'anybody', 'that a process takes to stop, before it exits with what is left; supervisors kill it after 10 s'),
  },
  schedules: {
    slots: limit(4, 'schedules', 'whoever publishes a workflow', 'that one worker fires at a time', 'FLOWGRES_SCHEDULE_SLOTS'),
    firingTimeoutMs: limit(3_000, 'ms', 'whoever publishes a workflow', 'the start of one tick', 'FLOWGRES_FIRING_TIMEOUT'),
  },
  httpRequest: {
    maxResponseBytes: limit(10 * 1024 * 1024, 'bytes', 'a workflow’s peer', 'an answer after decoding; an output still has at most 1 MiB'),
    maxHeaderBytes: limit(16 * 1024, 'bytes', 'a workflow’s peer', 'the headers of an answer'),
    maxRedirects: limit(5, 'redirects', 'a workflow’s peer', 'that one request follows'),
    maxCodings: limit(2, 'codings', 'a workflow’s peer', 'of one answer'),
    dnsTimeoutMs: limit(2_000, 'ms', 'a workflow’s peer', 'that a name server has for an answer'),
    dnsTries: limit(2, 'tries', 'a workflow’s peer', 'of each name server'),
  },
} as const satisfies Record<string, Record<string, Limit>>;

type Values<G> = { readonly [N in keyof G]: G[N] extends Limit<infer V> ? V : never };

/** The values alone: `LIMITS.graphql.maxPage`. */
export const LIMITS = Object.fromEntries(
  Object.entries(CONSTANTS).map(([group, limits]) => [
    group,
    Object.fromEntries(Object.entries(limits as Record<string, Limit>).map(([name, { value }]) => [name, value])),
  ]),
) as unknown as { readonly [G in keyof typeof CONSTANTS]: Values<(typeof CONSTANTS)[G]> };

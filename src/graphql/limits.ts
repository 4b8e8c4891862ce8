/** What one request may ask for, and the sizes of pages. Time is limited by statement_timeout. */
export const LIMITS = {
  /** Rows of a page when the query does not say. */
  defaultPage: 50,
  maxPage: 200,
  /** Skipping rows costs as much as reading them; cursors do not. */
  maxOffset: 10_000,
  maxDepth: 12,
  maxAliases: 30,
  /** Words and signs of a document, of a request with a token and of one without. */
  maxTokens: 2_500,
  maxAnonymousTokens: 500,
  /** Brackets inside of brackets. */
  maxNesting: 64,
  /** Levels of a variable: 64 of JSON, and what it stands in. */
  maxVariableDepth: 72,
  /** Operations and fragments of a document. */
  maxDefinitions: 100,
  /** Fields that stand beside each other. */
  maxSelections: 150,
  /** Uses of fragments, also inside of other fragments. */
  maxSpreads: 200,
  maxDirectives: 50,
  /** Pairs of fields that ask for the same place of the answer: validating compares each with each. */
  maxRepetitions: 20_000,
  /** Objects that an answer may have. */
  maxCost: 10_000,
  /** Of a request without a valid token, and of a message on a WebSocket. */
  maxBodyBytes: 256 * 1024,
  /** Of a request with a valid token: a definition or an input of 1 MiB, however its client escapes it. */
  maxTokenBodyBytes: 2 * 1024 * 1024,
  /** Of the document itself: definitions and inputs belong into variables. */
  maxDocumentBytes: 256 * 1024,
  statementTimeout: '5s',
  /** Of testWorkflow, which evaluates whatever its caller wrote. */
  testTimeout: '2s',
  /** WebSockets of one token, or of one address without a token. */
  maxSockets: 20,
  /** Operations that one WebSocket may have at a time. */
  maxSubscriptions: 100,
  /** Bytes that a WebSocket's client may leave unread before it is cut off. */
  maxUnreadBytes: 4 * 1024 * 1024,
} as const;

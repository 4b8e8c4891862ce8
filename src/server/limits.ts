/** What one request may ask for, and the sizes of pages. Time is limited by statement_timeout. */
import { SafeError, type Step, lambda } from 'postgraphile/grafast';

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
  maxBodyBytes: 256 * 1024,
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

type PageArgument = 'first' | 'last' | 'offset';
/** What the plan of a connection gives. */
interface Page extends Step {
  setFirst($first: Step<number | null>): void;
  setLast($last: Step<number | null>): void;
  setOffset($offset: Step<number | null>): void;
}

/** Every list gets a page size: PostGraphile has none, and would answer `{ workflowRuns { nodes } }` with all of them. */
export const PagingPlugin: GraphileConfig.Plugin = {
  name: 'FlowgresPagingPlugin',
  version: '1.0.0',
  after: ['PgFirstLastBeforeAfterArgsPlugin'],
  schema: {
    hooks: {
      GraphQLObjectType_fields_field_args(args, build, { scope }) {
        if (!scope.isPgFieldConnection && !scope.isPgFieldSimpleCollection) return args;
        for (const name of ['first', 'last', 'offset'] satisfies PageArgument[]) {
          // Applied by the field's plan below, which sees the three together.
          if (args[name]) delete args[name].applyPlan;
        }
        if (args['first'])
          args['first'].description = build.wrapDescription(
            `Only the first \`n\`: ${LIMITS.defaultPage} by default, ${LIMITS.maxPage} at most.`,
            'arg',
          );
        if (args['last']) args['last'].description = build.wrapDescription(`Only the last \`n\`, ${LIMITS.maxPage} at most.`, 'arg');
        return args;
      },
      GraphQLObjectType_fields_field(field, _build, { scope }) {
        if (!scope.isPgFieldConnection && !scope.isPgFieldSimpleCollection) return field;
        const plan = field.plan;
        if (!plan) return field;
        field.plan = ($parent, args, info) => {
          const $page = plan($parent, args, info) as Page;
          const has = (name: PageArgument) => info.field.args.some((each) => each.name === name);
          if (!has('first')) return $page;
          const $first = args.getRaw('first');
          if (has('last')) {
            const $last = args.getRaw('last');
            $page.setFirst(lambda([$first, $last], ([first, last]) => pageSize('first', first, last == null ? LIMITS.defaultPage : null)));
            $page.setLast(lambda($last, (last) => pageSize('last', last, null)));
          } else {
            $page.setFirst(lambda($first, (first) => pageSize('first', first, LIMITS.defaultPage)));
          }
          if (has('offset')) $page.setOffset(lambda(args.getRaw('offset'), checkedOffset));
          return $page;
        };
        return field;
      },
    },
  },
};

function pageSize(name: string, asked: number | null | undefined, otherwise: number | null): number | null {
  if (asked == null) return otherwise;
  if (asked < 0 || asked > LIMITS.maxPage) {
    throw new SafeError(`"${name}" is ${asked}; it may be 0 to ${LIMITS.maxPage}.`, {
      code: 'INVALID_ARGUMENT',
      hint: 'Read page by page: pass pageInfo.endCursor as "after".',
    });
  }
  return asked;
}

function checkedOffset(asked: number | null | undefined): number | null {
  if (asked == null) return null;
  if (asked < 0 || asked > LIMITS.maxOffset) {
    throw new SafeError(`"offset" is ${asked}; it may be 0 to ${LIMITS.maxOffset}.`, {
      code: 'INVALID_ARGUMENT',
      hint: 'Read page by page: pass pageInfo.endCursor as "after".',
    });
  }
  return asked;
}

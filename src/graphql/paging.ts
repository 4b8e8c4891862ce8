/**
 * Pages of lists: applies page sizes, offsets and cursors, and refuses invalid ones with the name of the
 * argument.
 */
import { ConstantStep, SafeError, type Step, lambda } from 'postgraphile/grafast';
import { LIMITS } from './limits.ts';

/** The part of Grafast's plan that says how often a step is executed. */
interface LayerPlan {
  reason: { type: string };
  parentLayerPlan: LayerPlan | null;
}

const ARGUMENTS = ['first', 'last', 'offset', 'before', 'after'] as const;
type PageArgument = (typeof ARGUMENTS)[number];
type Given = readonly (number | null | undefined)[];

/** The parts of a connection's plan that are used here. */
interface Page extends Step {
  setFirst($first: Step<number | null>): void;
  setLast($last: Step<number | null>): void;
  setOffset($offset: Step<number | null>): void;
  setBefore($before: Step<string | null>): void;
  setAfter($after: Step<string | null>): void;
}

/** Gives every list a page size: without one PostGraphile would return all rows for `{ workflowRuns { nodes } }`. */
export const PagingPlugin: GraphileConfig.Plugin = {
  name: 'FlowgresPagingPlugin',
  version: '1.0.0',
  // The order of a list has to be complete before the list is cut into pages.
  after: ['PgFirstLastBeforeAfterArgsPlugin', 'FlowgresListOrderPlugin'],
  schema: {
    hooks: {
      GraphQLObjectType_fields_field_args(args, build, { scope }) {
        if (!scope.isPgFieldConnection && !scope.isPgFieldSimpleCollection) return args;
        // The plan of the field applies them below, where all of them are known.
        for (const name of ARGUMENTS) if (args[name]) delete args[name].applyPlan;
        const describe = (argument: PageArgument, text: string) => {
          if (args[argument]) args[argument].description = build.wrapDescription(text, 'arg');
        };
        describe(
          'first',
          `Only the first \`n\`: ${LIMITS.defaultPage} by default, ${LIMITS.nestedPage} for each row of another list, ${LIMITS.maxPage} at most.`,
        );
        describe('last', `Only the last \`n\`, ${LIMITS.maxPage} at most. Not together with \`first\`.`);
        return args;
      },
      GraphQLObjectType_fields_field(field, _build, { scope }) {
        if (!scope.isPgFieldConnection && !scope.isPgFieldSimpleCollection) return field;
        const { plan } = field;
        if (!plan) return field;
        field.plan = ($parent, args, info) => {
          const $page = plan($parent, args, info) as Page;
          const defaultPage = isInList($parent) ? LIMITS.nestedPage : LIMITS.defaultPage;
          const names = new Set(info.field.args.map(({ name }) => name));
          const given = (name: PageArgument): Step => args.getRaw(name);
          if (names.has('last')) {
            const $sizes = [given('first'), given('last')];
            $page.setFirst(lambda($sizes, ([first, last]: Given) => pageSize('first', first, last == null ? defaultPage : null)));
            $page.setLast(lambda($sizes, ([first, last]: Given) => lastSize(first, last)));
          } else if (names.has('first')) {
            $page.setFirst(lambda(given('first'), (first) => pageSize('first', first as Given[0], defaultPage)));
          }
          if (names.has('offset')) {
            const $both = [given('offset'), ...(names.has('last') ? [given('last')] : [])];
            $page.setOffset(lambda($both, ([offset, last]: Given) => checkedOffset(offset, last)));
          }
          if (names.has('before') && !isNull(given('before')))
            $page.setBefore(lambda(given('before'), (cursor) => checkedCursor('before', cursor)));
          if (names.has('after') && !isNull(given('after')))
            $page.setAfter(lambda(given('after'), (cursor) => checkedCursor('after', cursor)));
          return $page;
        };
        return field;
      },
    },
  },
};

/** Whether a step is executed for each item of a list. */
function isInList($step: Step): boolean {
  for (let plan: LayerPlan | null = ($step as unknown as { layerPlan: LayerPlan }).layerPlan; plan; plan = plan.parentLayerPlan) {
    if (plan.reason.type === 'listItem') return true;
  }
  return false;
}

/**
 * Whether an argument is absent in the document: then no request can give it, and the statement can be part of
 * another one.
 */
function isNull($value: Step): boolean {
  return $value instanceof ConstantStep && $value.data == null;
}

const NEXT_PAGE = 'Read page by page: pass pageInfo.endCursor as "after".';

function refused(field: PageArgument, message: string, hint: string): SafeError {
  return new SafeError(message, { code: 'INVALID_ARGUMENT', hint, details: { field } });
}

function pageSize(name: 'first' | 'last', asked: number | null | undefined, otherwise: number | null): number | null {
  if (asked == null) return otherwise;
  if (asked < 0 || asked > LIMITS.maxPage) throw refused(name, `"${name}" is ${asked}; it may be 0 to ${LIMITS.maxPage}.`, NEXT_PAGE);
  return asked;
}

function lastSize(first: number | null | undefined, last: number | null | undefined): number | null {
  if (first != null && last != null) {
    throw refused('last', '"last" cannot stand beside "first".', 'Read forwards by "first" and "after", backwards by "last" and "before".');
  }
  return pageSize('last', last, null);
}

function checkedOffset(asked: number | null | undefined, last: number | null | undefined): number | null {
  if (asked == null) return null;
  if (asked < 0 || asked > LIMITS.maxOffset) {
    throw refused('offset', `"offset" is ${asked}; it may be 0 to ${LIMITS.maxOffset}.`, NEXT_PAGE);
  }
  if (last != null) throw refused('offset', '"offset" cannot stand beside "last".', 'Read backwards by "last" and "before".');
  return asked;
}

/** Longest cursor in characters; orders contain names and times only. */
const MAX_CURSOR = 16_384;

/**
 * Returns the cursor if it is base64 of a JSON array with the id of its order and its values. Whether it
 * belongs to this order is checked later.
 */
function checkedCursor(name: 'before' | 'after', cursor: unknown): string | null {
  if (cursor == null) return null;
  if (typeof cursor !== 'string' || cursor.length > MAX_CURSOR || !isCursor(cursor)) throw cursorError(name);
  return cursor;
}

function isCursor(cursor: string): boolean {
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64').toString());
    return Array.isArray(parts) && parts.length > 1 && parts.every(isValue);
  } catch {
    return false;
  }
}

function isValue(value: unknown): boolean {
  if (typeof value === 'string') return !value.includes('\0') && value.isWellFormed();
  return value === null || typeof value === 'number' || typeof value === 'boolean';
}

/** The error for a cursor that is malformed or belongs to another list. */
export function cursorError(name: 'before' | 'after'): SafeError {
  return refused(
    name,
    `"${name}" is no cursor of this list in this order.`,
    'Pass pageInfo.endCursor as "after" or pageInfo.startCursor as "before", from a page of the same field and "orderBy".',
  );
}

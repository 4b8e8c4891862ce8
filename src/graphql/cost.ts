/**
 * Estimates before execution how many objects a document can return, with page sizes multiplied, and refuses
 * more than the limit.
 */
import type {} from 'postgraphile/grafserv';
import {
  type DocumentNode,
  type FieldNode,
  GraphQLError,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLSchema,
  type SelectionSetNode,
  getArgumentValues,
  getNamedType,
  getNullableType,
  getVariableValues,
  isCompositeType,
  isListType,
  isObjectType,
  isInterfaceType,
} from 'postgraphile/graphql';
import { LIMITS } from './limits.ts';
import { operationOf, refuseBeforeExecution } from './refusal.ts';

/** Fields that the estimate visits: repeated fragments can make a short document expand to very many. */
const MAX_FIELDS = 50_000;

type Variables = Record<string, unknown>;

/** What an answer may consist of. */
export interface Cost {
  objects: number;
  /** The lists with the most objects, largest first: their fields from the root, joined by dots. */
  counted: { path: string; objects: number }[];
}

/** Lists that an error names. */
const MAX_COUNTED = 5;

/** Where the estimate is in the document. */
interface Place {
  type: GraphQLNamedType | undefined;
  path: string;
  /** How many objects there are of this place. */
  count: number;
  /** The page size of the list that it is in. */
  page: number;
  isInList: boolean;
}

/**
 * Returns the largest number of objects that the answer can have: 1 for each object, and the page size for each
 * list. Scalars are free. Infinity for a document with too many fields to visit.
 */
export function costOf(schema: GraphQLSchema, document: DocumentNode, operationName?: string | null, variables: Variables = {}): Cost {
  const found = operationOf(schema, document, operationName);
  if (!found) return { objects: 0, counted: [] };
  const { operation, root, fragments } = found;
  // Use the defaults of variables. Execution reports variables that are wrong.
  const { coerced = {} } = getVariableValues(schema, operation.variableDefinitions ?? [], variables);
  const lists = new Map<string, number>();
  let fields = 0;

  const visit = (set: SelectionSetNode, place: Place): number => {
    let cost = 0;
    for (const selection of set.selections) {
      fields += 1;
      if (fields > MAX_FIELDS) return Number.POSITIVE_INFINITY;
      if (selection.kind === 'Field') {
        cost += visitField(selection, place);
      } else {
        const inner = selection.kind === 'InlineFragment' ? selection : fragments.get(selection.name.value);
        const type = inner?.typeCondition ? schema.getType(inner.typeCondition.name.value) : place.type;
        if (inner) cost += visit(inner.selectionSet, { ...place, type });
      }
    }
    return cost;
  };

  const visitField = (node: FieldNode, { type: parent, path, count, page, isInList }: Place): number => {
    const field = isObjectType(parent) || isInterfaceType(parent) ? parent.getFields()[node.name.value] : undefined;
    // Scalars and introspection fields cost nothing.
    if (!field || !node.selectionSet || !isCompositeType(getNamedType(field.type))) return 0;
    const paged = field.args.some(({ name }) => name === 'first');
    const rows = paged ? pageOf(field, node, coerced, isInList) : page;
    const isList = isListType(getNullableType(field.type));
    const objects = count * (isList ? rows : 1);
    const here = path ? `${path}.${node.name.value}` : node.name.value;
    if (isList) lists.set(here, (lists.get(here) ?? 0) + objects);
    const inside = { type: getNamedType(field.type), path: here, count: objects, page: rows, isInList: isInList || isList };
    return objects + visit(node.selectionSet, inside);
  };

  const objects = visit(operation.selectionSet, { type: root, path: '', count: 1, page: LIMITS.defaultPage, isInList: false });
  const counted = [...lists].map(([path, each]) => ({ path, objects: each })).sort((one, other) => other.objects - one.objects);
  return { objects, counted: counted.slice(0, MAX_COUNTED) };
}

function pageOf(field: GraphQLField<unknown, unknown>, node: FieldNode, variables: Variables, isInList: boolean): number {
  const defaultPage = isInList ? LIMITS.nestedPage : LIMITS.defaultPage;
  try {
    const { first, last } = getArgumentValues(field, node, variables);
    const asked = Number(first ?? last ?? defaultPage);
    return Math.min(Math.max(asked, 0), LIMITS.maxPage);
  } catch {
    // Execution reports arguments that are wrong.
    return defaultPage;
  }
}

/** Refuses documents that may cost more than `limit`, over HTTP and over WebSockets. */
export function costPlugin(limit: number): GraphileConfig.Plugin {
  return {
    name: 'FlowgresCostPlugin',
    version: '1.0.0',
    grafserv: refuseBeforeExecution(({ schema, document, operationName, variableValues }) => {
      const { objects, counted } = costOf(schema, document, operationName, variableValues ?? {});
      if (objects <= limit) return undefined;
      const details = { cost: Number.isFinite(objects) ? objects : null, limit, counted };
      return new GraphQLError(`The answer could have ${details.cost ?? 'too many'} objects; the limit is ${limit}.`, {
        extensions: { code: 'TOO_LARGE', hint: 'Ask for smaller pages ("first") or for less inside of them.', details },
      });
    }),
  };
}

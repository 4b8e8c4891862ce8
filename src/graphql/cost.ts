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

/**
 * Returns the largest number of objects that the answer can have: 1 for each object, and the page size for each
 * list. Scalars are free. Infinity for a document with too many fields to visit.
 */
export function costOf(schema: GraphQLSchema, document: DocumentNode, operationName?: string | null, variables: Variables = {}): number {
  const found = operationOf(schema, document, operationName);
  if (!found) return 0;
  const { operation, root, fragments } = found;
  // Use the defaults of variables. Execution reports variables that are wrong.
  const { coerced = {} } = getVariableValues(schema, operation.variableDefinitions ?? [], variables);
  let fields = 0;

  const visit = (set: SelectionSetNode, parent: GraphQLNamedType | undefined, count: number, page: number): number => {
    let cost = 0;
    for (const selection of set.selections) {
      fields += 1;
      if (fields > MAX_FIELDS) return Number.POSITIVE_INFINITY;
      if (selection.kind === 'Field') {
        cost += visitField(selection, parent, count, page);
      } else {
        const inner = selection.kind === 'InlineFragment' ? selection : fragments.get(selection.name.value);
        const type = inner?.typeCondition ? schema.getType(inner.typeCondition.name.value) : parent;
        if (inner) cost += visit(inner.selectionSet, type, count, page);
      }
    }
    return cost;
  };

  const visitField = (node: FieldNode, parent: GraphQLNamedType | undefined, count: number, page: number): number => {
    const field = isObjectType(parent) || isInterfaceType(parent) ? parent.getFields()[node.name.value] : undefined;
    // Scalars and introspection fields cost nothing.
    if (!field || !node.selectionSet || !isCompositeType(getNamedType(field.type))) return 0;
    const paged = field.args.some(({ name }) => name === 'first');
    const rows = paged ? pageOf(field, node, coerced) : page;
    const objects = count * (isListType(getNullableType(field.type)) ? rows : 1);
    return objects + visit(node.selectionSet, getNamedType(field.type), objects, rows);
  };

  return visit(operation.selectionSet, root, 1, LIMITS.defaultPage);
}

function pageOf(field: GraphQLField<unknown, unknown>, node: FieldNode, variables: Variables): number {
  try {
    const { first, last } = getArgumentValues(field, node, variables);
    const asked = Number(first ?? last ?? LIMITS.defaultPage);
    return Math.min(Math.max(asked, 0), LIMITS.maxPage);
  } catch {
    // Execution reports arguments that are wrong.
    return LIMITS.defaultPage;
  }
}

/** Refuses documents that may cost more than `limit`, over HTTP and over WebSockets. */
export function costPlugin(limit: number): GraphileConfig.Plugin {
  return {
    name: 'FlowgresCostPlugin',
    version: '1.0.0',
    grafserv: refuseBeforeExecution(({ schema, document, operationName, variableValues }) => {
      const cost = costOf(schema, document, operationName, variableValues ?? {});
      if (cost <= limit) return undefined;
      const details = { cost: Number.isFinite(cost) ? cost : null, limit };
      return new GraphQLError(`The answer could have ${details.cost ?? 'too many'} objects; the limit is ${limit}.`, {
        extensions: { code: 'TOO_LARGE', hint: 'Ask for smaller pages ("first") or for less inside of them.', details },
      });
    }),
  };
}

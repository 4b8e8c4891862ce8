/** What a document may ask for at most, estimated before anything is executed: its objects, pages multiplied. */
import type {} from 'postgraphile/grafserv';
import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  GraphQLError,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLSchema,
  type SelectionSetNode,
  getArgumentValues,
  getNamedType,
  getNullableType,
  getOperationAST,
  getVariableValues,
  isCompositeType,
  isListType,
  isObjectType,
  isInterfaceType,
} from 'postgraphile/graphql';
import { LIMITS } from './limits.ts';

/** Fields that the estimate looks at: fragments used over and over make a small document a large one. */
const MAX_FIELDS = 50_000;

type Variables = Record<string, unknown>;

/**
 * How many objects an answer can have: 1 for each object, and for each of a page as many as the page may have rows.
 * Values are free. Infinite for a document that is too large to be looked through.
 */
export function costOf(schema: GraphQLSchema, document: DocumentNode, operationName?: string | null, variables: Variables = {}): number {
  const operation = getOperationAST(document, operationName);
  const root = operation && schema.getRootType(operation.operation);
  if (!operation || !root) return 0;
  // Defaults of variables count; what is wrong with them, executing will say.
  const { coerced = {} } = getVariableValues(schema, operation.variableDefinitions ?? [], variables);
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of document.definitions) {
    if (definition.kind === 'FragmentDefinition') fragments.set(definition.name.value, definition);
  }
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
    // Leaves, and what asks for the schema itself.
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
    // Executing it will say what is wrong with the arguments.
    return LIMITS.defaultPage;
  }
}

/** Refuses what could cost more than `limit`, over HTTP and over a WebSocket. */
export function costPlugin(limit: number): GraphileConfig.Plugin {
  const refusal = (args: { schema: GraphQLSchema; document: DocumentNode; operationName?: unknown; variableValues?: unknown }) => {
    const cost = costOf(args.schema, args.document, args.operationName as string | undefined, (args.variableValues ?? {}) as Variables);
    if (cost <= limit) return undefined;
    const details = { cost: Number.isFinite(cost) ? cost : null, limit };
    return new GraphQLError(`The answer could have ${details.cost ?? 'too many'} objects; the limit is ${limit}.`, {
      extensions: { code: 'TOO_LARGE', hint: 'Ask for smaller pages ("first") or for less inside of them.', details },
    });
  };
  return {
    name: 'FlowgresCostPlugin',
    version: '1.0.0',
    grafserv: {
      middleware: {
        setPreset(next, event) {
          const previous = event.getExecutionConfig;
          event.getExecutionConfig = async function (request) {
            const config = await previous.call(this, request);
            return {
              ...config,
              execute(args) {
                const error = refusal(args);
                return error ? { errors: [error] } : config.execute(args);
              },
              subscribe(args) {
                const error = refusal(args);
                return error ? { errors: [error] } : config.subscribe(args);
              },
            };
          };
          return next();
        },
      },
    },
  };
}

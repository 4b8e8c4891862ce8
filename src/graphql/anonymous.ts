/**
 * Limits what a request without a token may ask for. A document that asks for more is refused before execution
 * with UNAUTHENTICATED, without a statement and without a line in the log. The database enforces the same
 * rights; this check only saves work.
 */
import type {} from 'postgraphile/grafserv';
import {
  type DocumentNode,
  GraphQLError,
  type GraphQLNamedType,
  type GraphQLSchema,
  type SelectionSetNode,
  getNamedType,
  isInterfaceType,
  isObjectType,
} from 'postgraphile/graphql';
import { type Execution, operationOf, refuseBeforeExecution } from './refusal.ts';

/**
 * Fields of the root types, and computed fields of rows, whose table or function the role flowgres_anonymous
 * may use; test/api/anonymous.test.ts compares both. Any other field needs a token.
 */
export const OPEN_FIELDS: ReadonlySet<string> = new Set([
  'Query.currentOrganization',
  'Query.currentUser',
  'Query.plan',
  'Query.planBySlug',
  'Query.planLimit',
  'Query.planLimits',
  'Query.plans',
  'Query.workflowSchema',
  'Mutation.login',
  'Mutation.registerUser',
  'Mutation.requestPasswordReset',
  'Mutation.resetPassword',
  'Mutation.verifyEmail',
  'Plan.limits',
  'PlanLimit.plan',
]);

declare global {
  namespace Grafast {
    interface RequestContext {
      /** Status of the HTTP answer, where it differs from the one of the answer's errors. */
      refusedWith: number;
    }
  }
}

/**
 * Refuses documents of anonymous requests that use other fields than {@link OPEN_FIELDS}.
 *
 * @param isAnonymous whether a request has no token
 */
export function anonymousPlugin(isAnonymous: (request: Partial<Grafast.RequestContext>) => boolean): GraphileConfig.Plugin {
  /** Fields that need a token, as `Type.field`. */
  const closed = new Set<string>();
  const known = new WeakMap<DocumentNode, Map<string, string | null>>();

  const closedFieldOf = (schema: GraphQLSchema, document: DocumentNode, operationName: string | null | undefined): string | null => {
    const fields = known.get(document) ?? new Map<string, string | null>();
    known.set(document, fields);
    const name = operationName ?? '';
    if (!fields.has(name)) fields.set(name, findField(schema, document, operationName, closed));
    return fields.get(name)!;
  };

  const refusal = ({ schema, document, operationName }: Execution, request: Partial<Grafast.RequestContext>) => {
    if (!isAnonymous(request)) return undefined;
    const field = closedFieldOf(schema, document, operationName);
    if (field === null) return undefined;
    if (request.http) request.http.requestContext.refusedWith = 401;
    return new GraphQLError(`Without a token there is no "${field}".`, {
      extensions: {
        code: 'UNAUTHENTICATED',
        hint: 'Send "Authorization: Bearer <token>" with a token from create_api_token or login.',
        details: { field },
      },
    });
  };

  return {
    name: 'FlowgresAnonymousPlugin',
    version: '1.0.0',
    schema: {
      hooks: {
        GraphQLObjectType_fields_field(field, _build, { scope, Self }) {
          const { isRootQuery, isRootMutation, isRootSubscription, isPgClassType, pgFieldAttribute, fieldName } = scope;
          const isRoot = isRootQuery || isRootMutation || isRootSubscription;
          const isColumn = pgFieldAttribute !== undefined || fieldName === 'nodeId';
          const name = `${Self.name}.${fieldName}`;
          if ((isRoot || (isPgClassType && !isColumn)) && !OPEN_FIELDS.has(name)) closed.add(name);
          return field;
        },
      },
    },
    grafserv: refuseBeforeExecution(refusal),
  };
}

/** Returns the name of the first field that is in `closed`; null when there is none. Visits each fragment once. */
function findField(
  schema: GraphQLSchema,
  document: DocumentNode,
  operationName: string | null | undefined,
  closed: ReadonlySet<string>,
): string | null {
  const started = operationOf(schema, document, operationName);
  if (!started) return null;
  const { operation, root, fragments } = started;

  const find = (set: SelectionSetNode, parent: GraphQLNamedType | undefined): string | null => {
    for (const selection of set.selections) {
      let found: string | null = null;
      if (selection.kind === 'Field') {
        const field = isObjectType(parent) || isInterfaceType(parent) ? parent.getFields()[selection.name.value] : undefined;
        if (!field || !parent) continue;
        if (closed.has(`${parent.name}.${field.name}`)) return field.name;
        found = selection.selectionSet ? find(selection.selectionSet, getNamedType(field.type)) : null;
      } else if (selection.kind === 'InlineFragment') {
        found = find(selection.selectionSet, selection.typeCondition ? schema.getType(selection.typeCondition.name.value) : parent);
      } else {
        const fragment = fragments.get(selection.name.value);
        fragments.delete(selection.name.value);
        if (fragment) found = find(fragment.selectionSet, schema.getType(fragment.typeCondition.name.value));
      }
      if (found !== null) return found;
    }
    return null;
  };
  return find(operation.selectionSet, root);
}

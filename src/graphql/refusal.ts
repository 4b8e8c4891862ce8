/** Refuses documents before they are executed, over HTTP and over WebSockets. */
import type { ExecutionConfig } from 'postgraphile/grafserv';
import {
  type DocumentNode,
  type FragmentDefinitionNode,
  type GraphQLError,
  type GraphQLObjectType,
  type GraphQLSchema,
  type OperationDefinitionNode,
  getOperationAST,
} from 'postgraphile/graphql';

/** What is to be executed. */
export interface Execution {
  schema: GraphQLSchema;
  document: DocumentNode;
  operationName?: string | null | undefined;
  variableValues?: Record<string, unknown> | null | undefined;
}

/** Returns the part `grafserv` of a plugin that answers with the error of `refuse` instead of executing. */
export function refuseBeforeExecution(
  refuse: (execution: Execution, request: Partial<Grafast.RequestContext>) => GraphQLError | undefined,
): NonNullable<GraphileConfig.Plugin['grafserv']> {
  return {
    middleware: {
      setPreset(next, event) {
        const previous = event.getExecutionConfig;
        event.getExecutionConfig = async function (request) {
          const config = await previous.call(this, request);
          const refusing = <A extends Parameters<ExecutionConfig['execute']>[0], R>(args: A, run: (args: A) => R) => {
            const error = refuse(args as Execution, request);
            return error ? { errors: [error] } : run(args);
          };
          return {
            ...config,
            execute: (args) => refusing(args, (each) => config.execute(each)),
            subscribe: (args) => refusing(args, (each) => config.subscribe(each)),
          };
        };
        return next();
      },
    },
  };
}

/** The operation of a document, the type that it starts from, and the fragments by name; null when there is none. */
export function operationOf(
  schema: GraphQLSchema,
  document: DocumentNode,
  operationName: string | null | undefined,
): { operation: OperationDefinitionNode; root: GraphQLObjectType; fragments: Map<string, FragmentDefinitionNode> } | null {
  const operation = getOperationAST(document, operationName);
  const root = operation && schema.getRootType(operation.operation);
  if (!operation || !root) return null;
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of document.definitions) {
    if (definition.kind === 'FragmentDefinition') fragments.set(definition.name.value, definition);
  }
  return { operation, root, fragments };
}

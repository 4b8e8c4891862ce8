/** Which documents are refused before they are planned: too long, too deep, too many aliases, the schema itself. */
import { depthLimit } from '@graphile/depth-limit';
import {
  type ASTVisitor,
  type DocumentNode,
  GraphQLError,
  type GraphQLSchema,
  NoSchemaIntrospectionCustomRule,
  type ValidationContext,
  parse,
  validate,
} from 'postgraphile/graphql';
import { replaceError } from './errors.ts';
import { LIMITS } from './limits.ts';
import { bearerOf } from './requests.ts';

/** Every alias is the field once more; a page of them is not what aliases are for. */
function aliasLimit(context: ValidationContext): ASTVisitor {
  let aliases = 0;
  return {
    Field(node) {
      if (!node.alias) return;
      aliases += 1;
      if (aliases !== LIMITS.maxAliases + 1) return;
      context.reportError(
        new GraphQLError(`The document has more than ${LIMITS.maxAliases} aliases.`, {
          nodes: node,
          extensions: { code: 'TOO_LARGE', hint: 'Send several requests.', details: { limit: LIMITS.maxAliases } },
        }),
      );
    },
  };
}

function tooLong(query: string): GraphQLError | undefined {
  // A token has a character at least, and most documents are shorter than that.
  if (query.length <= LIMITS.maxTokens) return undefined;
  try {
    parse(query, { maxTokens: LIMITS.maxTokens, noLocation: true });
    return undefined;
  } catch (error) {
    return error instanceof GraphQLError && /token/i.test(error.message)
      ? new GraphQLError(error.message, { extensions: { code: 'TOO_LARGE', details: { limit: LIMITS.maxTokens } } })
      : undefined;
  }
}

/** @param openIntrospection whether anybody may read the schema, or only requests with a token */
export function documentPlugin(openIntrospection: boolean): GraphileConfig.Plugin {
  return {
    name: 'FlowgresDocumentPlugin',
    version: '1.0.0',
    grafserv: {
      middleware: {
        setPreset(next, event) {
          event.validationRules.push(
            depthLimit({
              maxDepth: LIMITS.maxDepth,
              revealDetails: true,
              // What clients such as Ruru ask to learn the schema.
              maxIntrospectionDepth: 14,
              maxDepthByFieldCoordinates: { '__Type.ofType': 9 },
            }),
            aliasLimit,
          );
          const previous = event.getExecutionConfig;
          event.getExecutionConfig = async function (request) {
            const config = await previous.call(this, request);
            const anonymous = (request.http?.getHeader('authorization') ?? bearerOf(request.ws?.connectionParams)) === undefined;
            return {
              ...config,
              // Around the cache of validated documents, which all requests share.
              parseAndValidate(query) {
                const long = tooLong(query);
                const result = long ? { errors: [long] } : config.parseAndValidate(query);
                if (result.errors) return { errors: result.errors.map(withCode) };
                const closed = anonymous && !openIntrospection ? introspectionErrors(config.schema, result.document) : [];
                return closed.length > 0 ? { errors: closed.map(withCode) } : result;
              },
            };
          };
          return next();
        },
      },
    },
  };
}

function introspectionErrors(schema: GraphQLSchema, document: DocumentNode): readonly GraphQLError[] {
  return validate(schema, document, [NoSchemaIntrospectionCustomRule]);
}

function withCode(error: GraphQLError): GraphQLError {
  return replaceError(error, error.message, { code: 'INVALID_ARGUMENT', ...error.extensions });
}

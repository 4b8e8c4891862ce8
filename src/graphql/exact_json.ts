/** Keeps all digits of JSON numbers in variables, in literals of documents, and in answers. */
import { SafeError } from 'postgraphile/grafast';
import {
  type DocumentNode,
  GraphQLError,
  type GraphQLInputType,
  type GraphQLSchema,
  Kind,
  type ObjectFieldNode,
  TypeInfo,
  type ValueNode,
  getNamedType,
  getNullableType,
  isInputObjectType,
  isInputType,
  isListType,
  typeFromAST,
  visit,
  visitWithTypeInfo,
} from 'postgraphile/graphql';
import { FlowgresError } from '../errors.ts';
import { JsonText, encodeJson, exactNumber, mayChange, parseJson } from '../json/json.ts';
import { refuseUnstorable } from '../json/strict.ts';

/** Levels of nesting of a value in an answer: it may be a list of values that each have 64 levels. */
const MAX_ANSWER_DEPTH = 256;
/** Scalars that are sent as texts to keep their digits. */
const TEXT_NUMBERS = new Set(['BigInt', 'BigFloat']);
/**
 * Finds documents with a number literal that JavaScript might change. May match inside of a text, which only
 * costs time.
 */
const LITERAL_AT_RISK = /\d[\d.]{15}|\d\.\d*0(?!\d)|\d[eE][+-]?\d/;

/** Replaces how GraphQL reads and writes values of type JSON, BigInt and BigFloat. */
export const ExactJsonPlugin: GraphileConfig.Plugin = {
  name: 'FlowgresExactJsonPlugin',
  version: '1.0.0',
  schema: {
    hooks: {
      build(build) {
        const codec = build.input.pgRegistry.pgCodecs['jsonb'];
        if (codec) Object.assign(codec, { fromPg: fromText, toPg: encodeInput });
        return build;
      },
      GraphQLScalarType: (config) =>
        config.name === 'JSON' ? { ...config, serialize, parseValue: parseVariable, parseLiteral: (node) => literalValue(node) } : config,
    },
  },
  grafserv: {
    middleware: {
      processRequest(next, { requestDigest }) {
        const { getBody } = requestDigest;
        requestDigest.getBody = async () => {
          const body = await getBody.call(requestDigest);
          if (body.type !== 'buffer' || !requestDigest.headers['content-type']?.startsWith('application/json')) return body;
          const text = body.buffer.toString();
          return mayChange(text) ? { type: 'json', json: parseJson(text) as never } : body;
        };
        return next();
      },
    },
  },
  grafast: {
    middleware: {
      prepareArgs(next, { args }) {
        const { schema, document, operationName, variableValues } = args;
        if (variableValues) args.variableValues = exactVariables(schema, document, operationName, variableValues);
        return next();
      },
    },
  },
};

/** Parses the text when it is read: invalid JSON becomes an error at its place in the answer. */
function fromText(text: string): JsonText | null {
  return text === 'null' ? null : new JsonText(text);
}

function serialize(value: unknown): unknown {
  if (!(value instanceof JsonText)) return value;
  const { text } = value;
  // Each level takes at least two characters, so a short text cannot be nested too deeply.
  if (text.length > 2 * MAX_ANSWER_DEPTH) within(() => refuseUnstorable(text, { maxDepth: MAX_ANSWER_DEPTH, strings: 'ignore' }));
  return value.value;
}

/** Encodes a value as JSON for PostgreSQL. Variables were checked when they were read; literals are checked here. */
function encodeInput(value: unknown): string {
  const text = encodeJson(value);
  if (!(value instanceof JsonText)) within(() => refuseUnstorable(text));
  return text;
}

function within(check: () => void): void {
  try {
    check();
  } catch (error) {
    if (error instanceof FlowgresError) throw new SafeError(error.message, { code: 'TOO_LARGE' });
    throw error;
  }
}

function parseVariable(value: unknown): JsonText {
  try {
    const text = encodeJson(value);
    refuseUnstorable(text);
    return new JsonText(text);
  } catch (error) {
    if (error instanceof FlowgresError) throw new GraphQLError(error.message);
    // JSON.stringify overflows the stack at this depth.
    if (error instanceof RangeError) throw new GraphQLError('The JSON is nested too deeply.');
    throw error;
  }
}

function literalValue(node: ValueNode): unknown {
  switch (node.kind) {
    case Kind.OBJECT:
      return Object.fromEntries(node.fields.map(({ name, value }) => [name.value, literalValue(value)]));
    case Kind.LIST:
      return node.values.map(literalValue);
    case Kind.INT:
    case Kind.FLOAT:
      return exactNumber('', Number(node.value), { source: node.value });
    case Kind.NULL:
      return null;
    case Kind.VARIABLE: // Grafast puts it in.
      return null;
    case Kind.ENUM:
      throw new GraphQLError('JSON consists of texts, numbers, true, false, null, lists and objects.', { nodes: node });
    default:
      return node.value;
  }
}

/**
 * Returns the document with exact numbers in literals of type JSON. Grafast reads numbers in lists and objects
 * with `parseFloat` but copies the value of a text, so each number is replaced by a text that `JSON.stringify`
 * writes as the original number.
 */
export function exactDocument(schema: GraphQLSchema, query: string, document: DocumentNode): DocumentNode {
  if (!LITERAL_AT_RISK.test(query)) return document;
  const typeInfo = new TypeInfo(schema);
  return visit(
    document,
    visitWithTypeInfo(typeInfo, {
      ListValue: (node) => (isJson(typeInfo.getInputType()) ? exactLiteral(node) : undefined),
      ObjectValue: (node) => (isJson(typeInfo.getInputType()) ? exactLiteral(node) : undefined),
    }),
  );
}

function isJson(type: GraphQLInputType | null | undefined): boolean {
  return type !== null && type !== undefined && getNamedType(type).name === 'JSON';
}

function exactLiteral(node: ValueNode): ValueNode {
  switch (node.kind) {
    case Kind.OBJECT:
      return { ...node, fields: node.fields.map((field): ObjectFieldNode => ({ ...field, value: exactLiteral(field.value) })) };
    case Kind.LIST:
      return { ...node, values: node.values.map(exactLiteral) };
    case Kind.INT:
    case Kind.FLOAT: {
      const value = literalValue(node);
      return typeof value === 'number' ? node : { kind: Kind.STRING, value: value as string, ...(node.loc ? { loc: node.loc } : {}) };
    }
    default:
      return node;
  }
}

type Variables = Readonly<Record<string, unknown>>;

/**
 * Converts exact numbers in variables back to JavaScript numbers, or to texts, where the schema expects another
 * type than JSON.
 */
function exactVariables(
  schema: GraphQLSchema,
  document: DocumentNode,
  operationName: string | null | undefined,
  variables: Variables,
): Record<string, unknown> {
  const operation = document.definitions.find(
    (each) => each.kind === Kind.OPERATION_DEFINITION && (!operationName || each.name?.value === operationName),
  );
  const known: Record<string, unknown> = { ...variables };
  if (operation?.kind !== Kind.OPERATION_DEFINITION) return known;
  for (const { variable, type: node } of operation.variableDefinitions ?? []) {
    const type = typeFromAST(schema, node);
    const { value: name } = variable.name;
    if (name in known && isInputType(type)) known[name] = variableAs(type, known[name]);
  }
  return known;
}

function variableAs(type: GraphQLInputType, value: unknown): unknown {
  const nullable = getNullableType(type);
  if (typeof value !== 'object' || value === null || isJson(nullable)) return value;
  if (JSON.isRawJSON(value)) return TEXT_NUMBERS.has(getNamedType(type).name) ? value.rawJSON : Number(value.rawJSON);
  if (isListType(nullable)) {
    return Array.isArray(value) ? value.map((each) => variableAs(nullable.ofType, each)) : variableAs(nullable.ofType, value);
  }
  if (!isInputObjectType(nullable)) return value;
  const fields = nullable.getFields();
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, fields[name] ? variableAs(fields[name].type, each) : each]));
}

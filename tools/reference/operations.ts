/** Generates typed operations from GraphQL documents and schema.graphql, by graphql-codegen. */
import { readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { codegen } from '@graphql-codegen/core';
import * as typescriptOperations from '@graphql-codegen/typescript-operations';
import { type OperationDefinitionNode, parse } from 'graphql';

const ROOT = join(import.meta.dirname, '../..');

const SCALARS = {
  UUID: 'string',
  Datetime: 'string',
  BigInt: 'string',
  Cursor: 'string',
  Date: 'string',
  JSON: 'unknown',
};

/** One operation of a document, with its text as it stands there. */
export interface OperationText {
  name: string;
  kind: string;
  text: string;
}

/** Returns the operations of documents, in their order. Fragments are not supported: a text stands for itself. */
export async function readOperations(files: readonly string[]): Promise<OperationText[]> {
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8')));
  return texts.flatMap((text) =>
    parse(text).definitions.map((definition) => {
      const { name, operation, loc } = definition as OperationDefinitionNode;
      return { name: name!.value, kind: operation, text: `${text.slice(loc!.start, loc!.end)}\n` };
    }),
  );
}

/**
 * Returns the types of all operations, and a constant for each.
 *
 * @param target path of the generated file
 * @param head its first lines
 * @param constantOf what the constant of an operation holds, as lines of an object
 */
export async function generateOperations(
  files: readonly string[],
  { target, head, constantOf }: { target: string; head: string; constantOf: (operation: OperationText) => string },
): Promise<string> {
  const schema = await readFile(join(ROOT, 'schema.graphql'), 'utf8');
  const documents = await Promise.all(
    files.map(async (file) => ({ location: relative(ROOT, file), document: parse(await readFile(file, 'utf8')) })),
  );
  const types = await codegen({
    schema: parse(schema),
    documents,
    filename: target,
    config: { scalars: SCALARS, defaultScalarType: 'unknown', useTypeImports: true, skipTypename: true, enumsAsTypes: true },
    plugins: [{ operations: {} }],
    pluginMap: { operations: typescriptOperations },
  });
  const constants = (await readOperations(files)).map((operation) => {
    const { name, kind } = operation;
    const type = `${name}${kind[0]!.toUpperCase()}${kind.slice(1)}`;
    const constant = `${name[0]!.toLowerCase()}${name.slice(1)}`;
    return `export const ${constant}: Operation<${type}, ${type}Variables> = {\n${constantOf(operation)}};\n`;
  });
  return [head, types, ...constants].join('\n');
}

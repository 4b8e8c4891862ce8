/** The OpenAPI 3.1 documents: of the whole interface, and of one workflow with the schema of its input. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { STATUS } from '../http/http_error.ts';
import { ROUTES, type Route, paramsShape } from './routes.ts';
import { errorAnswer, named } from './schemas.ts';

const { version } = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')));

/** Errors that every operation may have. */
const COMMON = ['INVALID_ARGUMENT', 'UNAUTHENTICATED', 'FORBIDDEN', 'TOO_LARGE', 'RATE_LIMITED', 'INTERNAL', 'UNAVAILABLE'];
const CODES = { ...STATUS, INTERNAL: 500 } as Readonly<Record<string, number>>;

type Json = Record<string, unknown>;

const components = z.toJSONSchema(named, { uri: (id) => `#/components/schemas/${id}`, io: 'input', unrepresentable: 'any' }).schemas;

/** A shape as JSON schema; a named one as a reference. */
function schemaOf(shape: z.ZodType): Json {
  const id = named.get(shape)?.id;
  if (id) return { $ref: `#/components/schemas/${id}` };
  const { $schema: _, ...schema } = z.toJSONSchema(shape, {
    io: 'input',
    unrepresentable: 'any',
    reused: 'inline',
    override({ zodSchema, jsonSchema }) {
      const name = named.get(zodSchema as unknown as z.ZodType)?.id;
      if (!name) return;
      for (const key of Object.keys(jsonSchema)) delete (jsonSchema as Json)[key];
      jsonSchema.$ref = `#/components/schemas/${name}`;
    },
  }) as Json;
  return schema;
}

function parametersOf(shape: z.ZodObject, place: 'path' | 'query'): Json[] {
  return Object.entries(shape.shape).map(([name, each]) => {
    const { description, ...schema } = schemaOf(each as z.ZodType);
    return { name, in: place, required: place === 'path', ...(description ? { description } : {}), schema };
  });
}

const KEY = {
  name: 'Idempotency-Key',
  in: 'header',
  required: false,
  description: 'The same key with the same input gives the same run; kept 7 days.',
  schema: { type: 'string', minLength: 1, maxLength: 256 },
};
const LAST_EVENT = {
  name: 'Last-Event-ID',
  in: 'header',
  required: false,
  description: 'Of a stream: the seq of the last event that the client has.',
  schema: { type: 'integer', minimum: 0 },
};

function errorsOf(route: Pick<Route, 'errors'>): Json {
  const byStatus = new Map<number, string[]>();
  for (const code of [...COMMON, ...route.errors]) {
    const status = CODES[code]!;
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  const answer = (codes: string[]) => ({
    description: codes.join(', '),
    content: { 'application/json': { schema: schemaOf(errorAnswer) } },
  });
  return Object.fromEntries([...byStatus].sort(([one], [other]) => one - other).map(([status, codes]) => [String(status), answer(codes)]));
}

/** The document's entry of one operation; `body` replaces the schema of the request's body. */
function operationOf(route: Route, body?: Json, path: Json[] = parametersOf(paramsShape(route), 'path')): Json {
  const parameters = [
    ...path,
    ...parametersOf(route.query, 'query'),
    ...(route.allowsKey ? [KEY] : []),
    ...(route.streams ? [LAST_EVENT] : []),
  ];
  const stream = {
    'text/event-stream': { schema: { type: 'string', description: 'Per event: id (seq), event (type), data (the event as JSON).' } },
  };
  return {
    operationId: route.operationId,
    summary: route.summary,
    description: `Scope: ${route.scope}.`,
    ...(parameters.length ? { parameters } : {}),
    ...(route.body
      ? { requestBody: { required: !route.isBodyOptional, content: { 'application/json': { schema: body ?? schemaOf(route.body) } } } }
      : {}),
    responses: {
      [String(route.status)]: {
        description: 'Done.',
        content: { 'application/json': { schema: schemaOf(route.answer) }, ...(route.streams ? stream : {}) },
        ...(route.status === 201 ? { headers: { Location: { description: 'The address of the run.', schema: { type: 'string' } } } } : {}),
      },
      ...(route.streams ? { '204': { description: 'Of a stream: the run has ended and nothing follows.' } } : {}),
      ...errorsOf(route),
    },
  };
}

function documentOf(title: string, description: string, apiVersion: string, paths: Json): Json {
  return {
    openapi: '3.1.0',
    info: { title, description, version: apiVersion, license: { name: 'MIT', identifier: 'MIT' } },
    servers: [{ url: '/' }],
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer', description: 'A token from create_api_token, or of a session.' } },
      schemas: Object.fromEntries(
        Object.entries(components).map(([name, { $schema: _, $id: __, ...schema }]: [string, Json]) => [name, schema]),
      ),
    },
  };
}

/** Returns the document of the whole interface, served at /openapi.json. */
export function describeApi(): Json {
  const paths: Record<string, Json> = {};
  for (const route of ROUTES) paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operationOf(route) };
  return documentOf('Flowgres', 'Starts and follows runs, and applies workflows from files, beside GraphQL.', version, paths);
}

/** A workflow with the schema of its input, `{}` for any. */
export const describedWorkflow = z.object({
  id: z.string(),
  name: z.string(),
  description: z.string().nullable(),
  version: z.number().nullable(),
  input: z.record(z.string(), z.unknown()),
});

/** Returns the document of one workflow: its start with the schema of its input, and the operations on its runs. */
export function describeWorkflow({ id, name, description, version: published, input }: z.infer<typeof describedWorkflow>): Json {
  const paths: Record<string, Json> = {};
  for (const route of ROUTES.filter(({ path }) => path.includes('{'))) {
    const isStart = route.operationId === 'startRun';
    const path = route.path.replace('{workflowId}', id);
    if (!isStart) {
      paths[path] = { [route.method.toLowerCase()]: operationOf(route) };
      continue;
    }
    const body = schemaOf(route.body!);
    const properties = { ...(body['properties'] as Json), input };
    const isRequired = Array.isArray(input['required']) && input['required'].length > 0;
    const operation = operationOf(
      { ...route, isBodyOptional: !isRequired },
      { ...body, properties, ...(isRequired ? { required: ['input'] } : {}) },
      [],
    );
    paths[path] = { post: operation };
  }
  return documentOf(name, description ?? 'A workflow.', String(published ?? 0), paths);
}

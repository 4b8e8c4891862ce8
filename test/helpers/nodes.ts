/**
 * Runs single nodes without a run: compiles, resolves and, if they are pure, executes them with the engine's
 * functions.
 */
import type { TestDatabase } from './database.ts';
import type { Definition } from './factory.ts';

/** One node of a definition. */
export type TestNode = Definition['nodes'][number];

/** The data that a node sees; `prev` is null when not given. */
export interface NodeContext {
  prev?: unknown;
  input?: unknown;
  inputs?: Record<string, unknown[]>;
  /** Outputs of earlier nodes, by id. */
  nodes?: Record<string, unknown>;
  run?: unknown;
  vars?: Record<string, unknown>;
  item?: unknown;
  index?: number;
}

/** The result of a node. */
export interface NodeResult {
  /** The properties with expressions evaluated. */
  properties: Record<string, unknown>;
  /** The chosen port; null when the node is not pure. */
  port: string | null;
  output: unknown;
}

/**
 * Returns a definition in which `node` follows a manual trigger and every node of `context.nodes`, at each of its
 * inputs in `context.inputs`.
 */
export function definitionFor(node: TestNode, context: NodeContext = {}): Definition {
  const before = ['start', ...Object.keys(context.nodes ?? {})];
  return {
    nodes: [{ id: 'start', type: 'manualTrigger' }, ...before.slice(1).map((id) => ({ id, type: 'noOp' })), node],
    connections: [
      ...[...before, node.id].slice(1).map((target, index) => ({ source: before[index]!, target })),
      ...Object.keys(context.inputs ?? {})
        .filter((input) => input !== 'main')
        .map((targetInput) => ({ source: before.at(-1)!, target: node.id, targetInput })),
    ],
  };
}

const RUN = `
  with plan as materialized (select engine.without_isolation(p.nodes) as nodes from engine.compile_version($1) as p),
  node as (
    select n as plan, r.properties
    from plan as p
    cross join lateral unnest(p.nodes) as n
    cross join lateral (
      select engine.resolve(
        n.properties, engine.with_inline_input(n.expressions), n.is_strict,
        engine.source_values($4, $5, $6, $8, $9, $10, $11),
        array(select $7::jsonb -> o.id from unnest(p.nodes) with ordinality as o order by o.ordinality)
      ) as properties
    ) as r
    where n.id = $2
  )
  select n.properties, (o.outcome).port, (o.outcome).output
  from node as n
  left join lateral (
    select engine.run_pure((n.plan).type, (n.plan).function, n.properties, $5, $6) as outcome
  ) as o on (n.plan).kind = 'pure' and $3`;

/** Runs the node; with `pure: false` it only resolves the properties. */
export async function runNode(db: TestDatabase, node: TestNode, context: NodeContext = {}, pure = true): Promise<NodeResult> {
  const { prev = null, input = null, inputs = { main: [prev] }, nodes = {}, run = {}, vars = {}, item, index } = context;
  const json = (value: unknown) => (value === undefined ? null : JSON.stringify(value));
  const { rows } = await db.admin.query<NodeResult & Record<string, unknown>>(RUN, [
    json(definitionFor(node, context)),
    node.id,
    pure,
    ...[input, prev, inputs, nodes, run, vars, item].map(json),
    index ?? null,
  ]);
  return rows[0]!;
}

/** Returns the value of a text with expressions. */
export async function evaluate(db: TestDatabase, text: string, context: NodeContext = {}, more: Partial<TestNode> = {}): Promise<unknown> {
  const node = { id: 'subject', type: 'transform', properties: { template: { value: text } }, ...more };
  return ((await runNode(db, node, context)).output as { value: unknown }).value;
}

/**
 * Returns how something fails: the SQLSTATE, the message, and the detail, which the engine records as the
 * node's error.
 */
export async function failureOf(
  running: Promise<unknown>,
): Promise<{ sqlstate: string; message: string; detail: Record<string, unknown> }> {
  const error = (await running.then(
    (value) => new Error(`did not fail, but gave ${JSON.stringify(value)}`),
    (caught: unknown) => caught,
  )) as Error & { code: string; detail?: string };
  return { sqlstate: error.code, message: error.message, detail: error.detail?.startsWith('{') ? JSON.parse(error.detail) : {} };
}

/** Returns all problems of a definition. */
export async function validate(db: TestDatabase, definition: unknown): Promise<{ pointer: string; code: string; message: string }[]> {
  const { rows } = await db.admin.query('select pointer, code, message from validate_workflow($1)', [JSON.stringify(definition)]);
  return rows;
}

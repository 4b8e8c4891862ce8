/** The effect nodes that this process can execute. A new node needs one file and one line here. */
import { deliverWebhook } from './deliver_webhook.ts';
import { httpRequest } from './http_request.ts';
import { log } from './log.ts';
import { type EffectContext, type EffectNode, type EffectResult, NodeError } from './types.ts';

/** A node without its property type, so that all nodes fit into one map. */
interface Executable {
  execute(context: EffectContext<Record<string, unknown>>): Promise<EffectResult>;
}

const nodes = new Map<string, Executable>([entry(httpRequest), entry(log), entry(deliverWebhook)]);

function entry<Properties>(node: EffectNode<Properties>): [string, Executable] {
  const execute: Executable['execute'] = (context) => {
    const parsed = node.properties.safeParse(context.properties);
    if (parsed.success) return node.execute({ ...context, properties: parsed.data });
    const problem = parsed.error.issues[0];
    throw new NodeError('VALIDATION_FAILED', `Property ${problem?.path.join('.') || '(all)'}: ${problem?.message}`, {
      details: { path: problem?.path.map(String) },
    });
  };
  return [node.type, { execute }];
}

/**
 * Executes a node of the given type, such as `httpRequest@1`.
 *
 * @throws NodeError when the type is unknown, the properties are invalid, or the node fails
 */
export async function executeNode(type: string, context: EffectContext<Record<string, unknown>>): Promise<EffectResult> {
  const node = nodes.get(type);
  if (!node) throw new NodeError('UNKNOWN_NODE_TYPE', `This worker cannot execute ${type}.`);
  return node.execute(context);
}

/** Registers a further node type; definitions can use it when `engine.node_types` has a row for it. */
export function registerNode<Properties>(node: EffectNode<Properties>): void {
  const [type, executable] = entry(node);
  nodes.set(type, executable);
}

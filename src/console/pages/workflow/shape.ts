/** The graph of a definition that may be incomplete, while it is being edited. */
import { type GraphShape, failurePortsOf } from '../run/fold.ts';

/** Returns the nodes and connections that can be drawn; null when there is no list of nodes. */
export function shapeOf(definition: object): GraphShape | null {
  const { nodes, connections } = definition as { nodes?: unknown; connections?: unknown };
  if (!Array.isArray(nodes)) return null;
  const drawn = new Map<string, { node: string; type: string }>();
  for (const each of nodes as ({ id?: unknown; type?: unknown } | null)[]) {
    if (typeof each?.id === 'string') drawn.set(each.id, { node: each.id, type: String(each.type ?? '') });
  }
  const links = (Array.isArray(connections) ? connections : []) as ({ [end: string]: unknown } | null)[];
  return {
    nodes: [...drawn.values()],
    connections: links.flatMap((link) => {
      const { source, target, sourceOutput = 'main', targetInput = 'main' } = link ?? {};
      return typeof source === 'string' && typeof target === 'string' && drawn.has(source) && drawn.has(target)
        ? [{ source, target, sourceOutput: String(sourceOutput), targetInput: String(targetInput) }]
        : [];
    }),
    failurePorts: failurePortsOf({}),
  };
}

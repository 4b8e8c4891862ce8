/** Places the nodes of a graph in layers. */
import dagre from '@dagrejs/dagre';
import type { GraphShape } from './fold.ts';

/** Size of a node in pixels. */
export const NODE_WIDTH = 164;
export const NODE_HEIGHT = 64;
const GAP = { ranksep: 44, nodesep: 24 };

/** Returns the top left corner of each node, in layers from left to right or from top to bottom. */
export function layout(
  { nodes, connections }: Pick<GraphShape, 'nodes' | 'connections'>,
  direction: 'LR' | 'TB' = 'LR',
): Map<string, { x: number; y: number }> {
  const graph = new dagre.graphlib.Graph({ multigraph: true });
  graph.setGraph({ rankdir: direction, ...(direction === 'LR' ? GAP : { ranksep: 36, nodesep: 16 }) });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const { node } of nodes) graph.setNode(node, { width: NODE_WIDTH, height: NODE_HEIGHT });
  connections.forEach(({ source, target }, index) => {
    graph.setEdge(source, target, {}, String(index));
  });
  dagre.layout(graph);
  return new Map(
    nodes.map(({ node }) => {
      const { x, y } = graph.node(node);
      return [node, { x: x - NODE_WIDTH / 2, y: y - NODE_HEIGHT / 2 }];
    }),
  );
}

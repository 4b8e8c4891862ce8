/** The graph of a run: states of its nodes, connections that were taken, attempts; live or as it was at an event. */
import {
  Background,
  type Edge,
  Handle,
  type Node,
  type NodeProps,
  Position,
  ReactFlow,
  ReactFlowProvider,
  useReactFlow,
} from '@xyflow/react';
import '@xyflow/react/dist/style.css';
import { Maximize, Minus, Plus } from 'lucide-react';
import { useMemo } from 'react';
import { IconButton, Status } from '../../components/ui.tsx';
import { duration } from '../../format.ts';
import { texts } from '../../texts.ts';
import type { GraphShape, NodeState, RunState } from './fold.ts';
import { NODE_HEIGHT, NODE_WIDTH, layout } from './layout.ts';
import './graph.css';

const t = texts.run;
/** A narrow page shows the graph from top to bottom. */
const NARROW = matchMedia('(max-width: 720px)');
type StepNode = Node<
  { name: string; type: string; state: NodeState; isChosen: boolean; direction: 'LR' | 'TB'; ports: string[]; inputs: string[] },
  'step'
>;

/** The graph. `onChoose` is called with the step that was clicked. */
export function RunGraph(props: { shape: GraphShape; state: RunState; chosen: string | null; onChoose: (node: string) => void }) {
  return (
    <ReactFlowProvider>
      <Canvas {...props} />
    </ReactFlowProvider>
  );
}

function Canvas({ shape, state, chosen, onChoose }: Parameters<typeof RunGraph>[0]) {
  const direction = NARROW.matches ? 'TB' : 'LR';
  const places = useMemo(() => layout(shape, direction), [shape, direction]);
  const nodes: StepNode[] = shape.nodes.map(({ node, type }) => ({
    id: node,
    type: 'step',
    position: places.get(node)!,
    width: NODE_WIDTH,
    height: NODE_HEIGHT,
    ariaLabel: `${node}, ${type}, ${texts.status[state.nodes.get(node)!.status] ?? ''}`,
    data: {
      name: node,
      type,
      state: state.nodes.get(node)!,
      isChosen: node === chosen,
      direction,
      ports: unique(shape.connections.filter(({ source }) => source === node).map(({ sourceOutput }) => sourceOutput)),
      inputs: unique(shape.connections.filter(({ target }) => target === node).map(({ targetInput }) => targetInput)),
    },
  }));
  const edges: Edge[] = shape.connections.map(({ source, sourceOutput, target, targetInput }, index) => ({
    id: String(index),
    source,
    target,
    sourceHandle: sourceOutput,
    targetHandle: targetInput,
    className: state.passed[index] ? 'passed' : '',
    animated: state.passed[index] === true && ['queued', 'running', 'waiting'].includes(state.nodes.get(target)?.status ?? ''),
    focusable: false,
    ...(sourceOutput === 'main' ? {} : { label: sourceOutput }),
  }));
  return (
    <div className="graph">
      <ReactFlow
        nodes={nodes}
        edges={edges}
        nodeTypes={NODE_TYPES}
        onNodeClick={(_event, { id }) => onChoose(id)}
        onSelectionChange={({ nodes: [first] }) => first && first.id !== chosen && onChoose(first.id)}
        nodesDraggable={false}
        nodesConnectable={false}
        edgesFocusable={false}
        deleteKeyCode={null}
        minZoom={0.1}
        fitView
        fitViewOptions={{ maxZoom: 1, padding: 0.1 }}
        proOptions={{ hideAttribution: true }}
      >
        <Background />
        <Zoom />
      </ReactFlow>
    </div>
  );
}

function Zoom() {
  const flow = useReactFlow();
  return (
    <div className="graph-tools">
      <IconButton icon={Plus} label={t.zoomIn} onClick={() => void flow.zoomIn()} />
      <IconButton icon={Minus} label={t.zoomOut} onClick={() => void flow.zoomOut()} />
      <IconButton icon={Maximize} label={t.fit} onClick={() => void flow.fitView({ maxZoom: 1, padding: 0.1 })} />
    </div>
  );
}

function StepView({ data: { name, type, state, isChosen, direction, ports, inputs } }: NodeProps<StepNode>) {
  const { status, attempt, startedAt, finishedAt } = state;
  const down = direction === 'TB';
  const offset = (index: number, of: number) => ({ [down ? 'left' : 'top']: `${(100 * (index + 1)) / (of + 1)}%` });
  return (
    <div className={`step-node ${status}${isChosen ? ' chosen' : ''}`}>
      {inputs.map((input, index) => (
        <Handle key={input} id={input} type="target" position={down ? Position.Top : Position.Left} style={offset(index, inputs.length)} />
      ))}
      <span className="step-name">{name}</span>
      <span className="step-type">{type}</span>
      <span className="step-facts">
        {status !== 'idle' && <Status status={status} label={false} />}
        {startedAt !== null && finishedAt !== null && duration(finishedAt - startedAt)}
        {attempt > 1 && ` · ×${attempt}`}
      </span>
      {ports.map((port, index) => (
        <Handle key={port} id={port} type="source" position={down ? Position.Bottom : Position.Right} style={offset(index, ports.length)} />
      ))}
    </div>
  );
}

const NODE_TYPES = { step: StepView };

function unique(names: string[]): string[] {
  return [...new Set(names)];
}

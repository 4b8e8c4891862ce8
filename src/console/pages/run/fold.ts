/**
 * Computes the state of a run from its log by the engine's rules, for every event: what each node is at, which
 * connections were taken, and the parts of the timeline. `engine.fold()` in sql/50_engine/core/fold.sql is the
 * rule; a test compares the two.
 */

/** An event of the log. */
export interface RunEvent {
  seq: number;
  /** ISO 8601. */
  ts: string;
  type: string;
  payload: Record<string, unknown>;
}

/** The nodes and connections of the version that runs. */
export interface GraphShape {
  nodes: readonly { node: string; type: string }[];
  connections: readonly { source: string; sourceOutput: string; target: string; targetInput: string }[];
  /** The port at which a run goes on after a node has failed for good; absent for nodes that stop the run. */
  failurePorts: ReadonlyMap<string, string>;
}

/** Returns {@link GraphShape.failurePorts} of a definition: what its nodes, else its settings, say about errors. */
export function failurePortsOf(definition: unknown): Map<string, string> {
  const { nodes = [], settings } = (definition ?? {}) as {
    nodes?: { id: string; type: string; onError?: string }[];
    settings?: { errorHandling?: string };
  };
  const ports: Record<string, string> = { continue: 'main', errorOutput: 'error' };
  return new Map(
    nodes.flatMap(({ id, type, onError }) => {
      const port = ports[onError ?? settings?.errorHandling ?? 'stop'];
      return port === undefined || type.startsWith('stopAndError') ? [] : [[id, port] as const];
    }),
  );
}

/** What a node is at. `idle`: the run has not come to it. */
export type NodeStatus = 'idle' | 'queued' | 'running' | 'waiting' | 'success' | 'error' | 'skipped' | 'canceled';

/** What the timeline shows of a node: a stretch of time of one kind. `to` is null while it lasts. */
export interface Span {
  kind: 'queue' | 'work' | 'wait' | 'retry';
  from: number;
  to: number | null;
  attempt: number;
  /** How a piece of work ended; null while it lasts. */
  failed: boolean | null;
  /** What a wait waits for. */
  waitsFor?: string;
}

/** The state of a node. */
export interface NodeState {
  status: NodeStatus;
  attempt: number;
  port: string | null;
  error: unknown;
  startedAt: number | null;
  finishedAt: number | null;
  /** What a waiting node waits for, and until when. */
  wait: { kind: string; name?: string; until?: string } | null;
  spans: Span[];
  /** The event that brought the run to this node; null while it has not come. */
  since: number | null;
}

/** The state of a run after some of its events. */
export interface RunState {
  status: 'running' | 'waiting' | 'paused' | 'success' | 'error' | 'canceled';
  nodes: ReadonlyMap<string, NodeState>;
  /** For each connection of the shape whether a value passed it. */
  passed: readonly boolean[];
  startedAt: number;
  /** When the run ended; null while it has not. */
  finishedAt: number | null;
}

type Payload = Record<string, unknown>;
/** A connection is settled when its source has ended: it carries a value or none. */
type Link = 'unsettled' | 'live' | 'dead';

/** Returns the state of the run after `events`, which begin with the first one and are in order. */
export function foldRun(shape: GraphShape, events: readonly RunEvent[]): RunState {
  const fold = new Fold(shape);
  for (const event of events) fold.apply(event);
  return fold.state(events);
}

class Fold {
  readonly #shape: GraphShape;
  readonly #nodes: Map<string, NodeState>;
  readonly #links: Link[];
  readonly #incoming: Map<string, number[]>;
  readonly #outgoing: Map<string, number[]>;
  #trigger: unknown;
  #seq = 0;
  #paused = false;
  #held = false;
  #ended: RunState['status'] | null = null;

  constructor(shape: GraphShape) {
    this.#shape = shape;
    this.#links = shape.connections.map(() => 'unsettled');
    this.#nodes = new Map(shape.nodes.map(({ node }) => [node, idleNode()]));
    const numbered = shape.connections.map((connection, index) => ({ ...connection, index }));
    this.#incoming = indexesBy(numbered, 'target');
    this.#outgoing = indexesBy(numbered, 'source');
  }

  apply({ seq, type, payload, ts }: RunEvent): void {
    const at = Date.parse(ts);
    this.#seq = seq;
    const node = typeof payload['node'] === 'string' ? this.#nodes.get(payload['node']) : undefined;
    if (type === 'run.created') this.#create(payload, at);
    else if (type === 'run.released') this.#held = false;
    else if (type === 'run.paused') this.#paused = true;
    else if (type === 'run.resumed') this.#paused = false;
    else if (type === 'run.succeeded') this.#end('success', at);
    else if (type === 'run.failed') this.#end('error', at);
    else if (type === 'run.canceled') this.#end('canceled', at);
    else if (node && type.startsWith('step.')) this.#step(type, node, payload, at);
  }

  state(events: readonly RunEvent[]): RunState {
    const open = [...this.#nodes.values()].filter(({ status }) => status === 'queued' || status === 'running');
    const waits = [...this.#nodes.values()].some(({ status }) => status === 'waiting');
    const first = events[0];
    const last = events.at(-1);
    return {
      status: this.#ended ?? (this.#paused ? 'paused' : this.#held || (open.length === 0 && waits) ? 'waiting' : 'running'),
      nodes: this.#nodes,
      passed: this.#links.map((link) => link === 'live'),
      startedAt: first ? Date.parse(first.ts) : 0,
      finishedAt: this.#ended && last ? Date.parse(last.ts) : null,
    };
  }

  /** The trigger that fired has a value; every other root is skipped. */
  #create(payload: Payload, at: number): void {
    this.#held = payload['held'] != null;
    this.#trigger = payload['trigger'];
    for (const { node } of this.#shape.nodes) {
      if (!this.#incoming.has(node) && node !== this.#trigger) this.#skip(node, at);
    }
  }

  #step(type: string, node: NodeState, payload: Payload, at: number): void {
    const name = String(payload['node']);
    node.since ??= this.#seq;
    if (type === 'step.started') {
      node.status = 'running';
      node.attempt = Number(payload['attempt'] ?? 1);
      node.startedAt ??= at;
      closeSpan(node, at);
      node.spans.push({ kind: 'work', from: at, to: null, attempt: node.attempt, failed: null });
    } else if (type === 'step.evaluated') {
      node.status = 'queued';
      closeSpan(node, at, false);
      node.spans.push({ kind: 'queue', from: at, to: null, attempt: node.attempt, failed: null });
    } else if (type === 'step.waiting') {
      const { kind = '', name: waitsFor, until } = payload as { kind?: string; name?: string; until?: string };
      node.status = 'waiting';
      node.startedAt ??= at;
      node.wait = { kind, ...(waitsFor ? { name: waitsFor } : {}), ...(until ? { until } : {}) };
      closeSpan(node, at, false);
      node.spans.push({ kind: 'wait', from: at, to: null, attempt: node.attempt, failed: null, waitsFor: kind });
    } else if (type === 'step.failed') {
      this.#fail(name, node, payload, at);
    } else if (type === 'step.succeeded' || type === 'step.reused') {
      // A pure node is computed inside of the transition that comes to it: it has no start of its own.
      if (!hasOpenWork(node)) {
        const from = Math.max(at - Number(payload['ms'] ?? 0), node.spans.at(-1)?.from ?? at);
        node.spans = [...closed(node.spans, from), { kind: 'work', from, to: at, attempt: 1, failed: false }];
        node.startedAt = from;
      }
      this.#finish(name, node, 'success', typeof payload['port'] === 'string' ? payload['port'] : 'main', at);
    }
  }

  #fail(name: string, node: NodeState, payload: Payload, at: number): void {
    node.error = payload['error'];
    node.startedAt ??= at;
    if (!hasOpenWork(node))
      node.spans = [...closed(node.spans, at), { kind: 'work', from: at, to: at, attempt: node.attempt, failed: true }];
    closeSpan(node, at, true);
    if (typeof payload['retryAt'] === 'string') {
      node.status = 'queued';
      const retryAt = Date.parse(payload['retryAt']);
      node.spans.push({ kind: 'retry', from: at, to: retryAt, attempt: node.attempt + 1, failed: null });
      node.spans.push({ kind: 'queue', from: retryAt, to: null, attempt: node.attempt + 1, failed: null });
      return;
    }
    this.#finish(name, node, 'error', this.#shape.failurePorts.get(name) ?? null, at);
  }

  #finish(name: string, node: NodeState, status: 'success' | 'error', port: string | null, at: number): void {
    node.status = status;
    node.port = port;
    node.wait = null;
    node.startedAt ??= at;
    node.finishedAt = at;
    closeSpan(node, at, status === 'error');
    this.#settle(name, port, at);
  }

  /** Makes the connections of the chosen port live and all others dead, and follows what becomes of their targets. */
  #settle(name: string, port: string | null, at: number): void {
    for (const index of this.#outgoing.get(name) ?? []) {
      const { sourceOutput, target } = this.#shape.connections[index]!;
      this.#links[index] = sourceOutput === port ? 'live' : 'dead';
      const links = (this.#incoming.get(target) ?? []).map((each) => this.#links[each]);
      if (links.includes('unsettled')) continue;
      const node = this.#nodes.get(target);
      if (node?.status !== 'idle') continue;
      if (links.includes('live')) {
        node.status = 'queued';
        node.since = this.#seq;
        node.spans.push({ kind: 'queue', from: at, to: null, attempt: 1, failed: null });
      } else this.#skip(target, at);
    }
  }

  #skip(name: string, at: number): void {
    const node = this.#nodes.get(name);
    if (node?.status !== 'idle') return;
    node.status = 'skipped';
    this.#settle(name, null, at);
  }

  #end(status: 'success' | 'error' | 'canceled', at: number): void {
    this.#ended = status;
    for (const node of this.#nodes.values()) {
      if (node.status === 'idle') node.status = 'skipped';
      if (!['queued', 'running', 'waiting'].includes(node.status)) continue;
      node.status = 'canceled';
      node.wait = null;
      closeSpan(node, at);
      node.spans = node.spans.filter(({ from }) => from <= at).map((span) => ({ ...span, to: Math.min(span.to ?? at, at) }));
    }
  }
}

function idleNode(): NodeState {
  return { status: 'idle', attempt: 0, port: null, error: null, startedAt: null, finishedAt: null, wait: null, spans: [], since: null };
}

function indexesBy(
  connections: readonly { source: string; target: string; index: number }[],
  end: 'source' | 'target',
): Map<string, number[]> {
  return new Map([...Map.groupBy(connections, (each) => each[end])].map(([node, group]) => [node, group.map(({ index }) => index)]));
}

const hasOpenWork = ({ spans }: NodeState) => {
  const last = spans.at(-1);
  return last !== undefined && last.to === null && last.kind !== 'queue';
};

/** Ends what lasts, and leaves out a stretch that took no time: a pure node does not wait for a worker. */
function closed(spans: Span[], at: number): Span[] {
  return spans.map((span) => (span.to === null ? { ...span, to: Math.max(at, span.from) } : span)).filter(({ from, to }) => to !== from);
}

function closeSpan(node: NodeState, at: number, failed: boolean | null = null): void {
  const last = node.spans.at(-1);
  if (!last || (last.to !== null && last.to <= at)) return;
  last.to = Math.max(at, last.from);
  if (last.kind === 'work' || last.kind === 'wait') last.failed = failed;
}

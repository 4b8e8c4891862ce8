/**
 * The timeline of a run: for each step its wait for a worker, its attempts, its waits, on one axis of time, and
 * the child runs below the step that started them.
 */
import { useEffect, useState } from 'react';
import { Link } from 'wouter';
import type { RunPageQuery } from '../../api/generated.ts';
import { Status } from '../../components/ui.tsx';
import { duration, shortId } from '../../format.ts';
import { texts } from '../../texts.ts';
import type { RunState, Span } from './fold.ts';
import './timeline.css';

const t = texts.run;
/** Marks on the axis. */
const MARKS = 5;
/** Milliseconds between two redraws while the run goes on. */
const TICK_MS = 250;

type Child = NonNullable<RunPageQuery['workflowRun']>['children']['nodes'][number];

const KINDS: Record<Span['kind'], string> = { queue: t.queueDelay, work: t.work, wait: t.waits, retry: t.retryDelay };

/** The timeline. */
export function Timeline({
  state,
  childRuns,
  chosen,
  onChoose,
}: {
  state: RunState;
  childRuns: readonly Child[];
  chosen: string | null;
  onChoose: (node: string) => void;
}) {
  const now = useNow(state.finishedAt === null);
  const end = state.finishedAt ?? now;
  const length = Math.max(1, end - state.startedAt);
  const rows = [...state.nodes]
    .filter(([, { spans }]) => spans.length > 0)
    .sort(([, one], [, other]) => (one.since ?? 0) - (other.since ?? 0));
  const placed = (from: number, to: number) => ({
    left: `${(100 * (from - state.startedAt)) / length}%`,
    width: `${(100 * Math.max(0, to - from)) / length}%`,
  });
  return (
    <div className="timeline">
      <div className="timeline-axis" aria-hidden="true">
        {Array.from({ length: MARKS }, (_, index) => (
          <span key={index} style={{ left: `${(100 * index) / MARKS}%` }}>
            {duration((length * index) / MARKS)}
          </span>
        ))}
      </div>
      <ul aria-label={t.tabs.timeline}>
        {rows.map(([name, node]) => (
          <li key={name}>
            <button type="button" className="timeline-row" aria-pressed={name === chosen} onClick={() => onChoose(name)}>
              <span className="timeline-name">
                <Status status={node.status} label={false} /> {name}
              </span>
              <span className="timeline-track">
                {node.spans.map((span) => (
                  <span
                    key={`${span.kind}${span.from}${span.attempt}`}
                    className={`span ${span.kind}${span.failed ? ' failed' : ''}${span.to === null ? ' open' : ''}`}
                    style={placed(span.from, span.to ?? end)}
                    title={describe(span, end)}
                  />
                ))}
              </span>
              <span className="timeline-time number">{totalOf(node.spans, end)}</span>
            </button>
            <Children runs={childRuns.filter(({ parentNode }) => parentNode === name)} end={end} placed={placed} />
          </li>
        ))}
      </ul>
      <p className="legend" aria-hidden="true">
        {(Object.keys(KINDS) as Span['kind'][]).map((kind) => (
          <span key={kind}>
            <i className={`span ${kind}`} />
            {KINDS[kind]}
          </span>
        ))}
      </p>
    </div>
  );
}

function Children({
  runs,
  end,
  placed,
}: {
  runs: readonly Child[];
  end: number;
  placed: (from: number, to: number) => { left: string; width: string };
}) {
  if (runs.length === 0) return null;
  return (
    <details className="timeline-children">
      <summary>
        {t.tabs.children} ({runs.length})
      </summary>
      <ul>
        {runs.map(({ id, status, startedAt, finishedAt, parentIndex, workflow }) => (
          <li key={id}>
            <Link href={`/runs/${id}`} className="timeline-row">
              <span className="timeline-name">
                <Status status={status} label={false} /> {parentIndex === null ? workflow?.name : `[${parentIndex}]`} {shortId(id)}
              </span>
              <span className="timeline-track">
                <span
                  className={`span work${status === 'error' ? ' failed' : ''}`}
                  style={placed(Date.parse(startedAt), finishedAt === null ? end : Date.parse(finishedAt))}
                />
              </span>
              <span className="timeline-time number">
                {duration((finishedAt === null ? end : Date.parse(finishedAt)) - Date.parse(startedAt))}
              </span>
            </Link>
          </li>
        ))}
      </ul>
    </details>
  );
}

function describe({ kind, from, to, attempt, waitsFor }: Span, end: number): string {
  const what = kind === 'wait' && waitsFor ? t.waitsFor(waitsFor) : KINDS[kind];
  return `${what}, ${t.attempt(Math.max(1, attempt))}: ${duration((to ?? end) - from)}`;
}

function totalOf(spans: readonly Span[], end: number): string {
  const last = spans.at(-1)!;
  return duration((last.to ?? end) - spans[0]!.from);
}

function useNow(runs: boolean): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!runs) return undefined;
    const timer = setInterval(() => setNow(Date.now()), TICK_MS);
    return () => clearInterval(timer);
  }, [runs]);
  return now;
}

/** One run: its graph, timeline, log and data, live, at any event of its log; and the commands on it. */
import { useQueryClient } from '@tanstack/react-query';
import { Pause, Play, SkipForward } from 'lucide-react';
import { useDeferredValue, useEffect, useMemo, useState } from 'react';
import { Link } from 'wouter';
import { type RunPageQuery, firstEvents, runEvents, runPage, runSteps } from '../../api/generated.ts';
import { useFollow, useRead } from '../../api/hooks.ts';
import { useAddress } from '../../components/address.ts';
import { announce } from '../../components/announce.ts';
import { JsonView } from '../../components/json_view.tsx';
import { NotFound } from '../../components/not_found.tsx';
import { CopyButton, Duration, ErrorNote, IconButton, Skeleton, Status, Tabs, Time } from '../../components/ui.tsx';
import { shortId } from '../../format.ts';
import { texts } from '../../texts.ts';
import { RunActions } from './actions.tsx';
import { Comparison } from './compare.tsx';
import { type GraphShape, type RunEvent, failurePortsOf, foldRun } from './fold.ts';
import { RunGraph } from './graph.tsx';
import { EventLog } from './log.tsx';
import { StepPanel } from './step_panel.tsx';
import { Timeline } from './timeline.tsx';
import './run.css';

const t = texts.run;
/** Milliseconds between two reads of the row and the steps while events come. */
const REFRESH_MS = 400;
/** Milliseconds that the player shows each event. */
const PLAY_MS = 500;
/** The last event of a run. */
const END = /^run\.(?:succeeded|failed|canceled)$/;
const NO_EVENTS: readonly RunEvent[] = [];
type Run = NonNullable<RunPageQuery['workflowRun']>;

/** The page. */
export function RunPage({ id }: { id: string }) {
  const { data, error, isPending } = useRead(runPage, { id });
  const steps = useRead(runSteps, { id });
  const { events, error: liveError } = useEvents(id);
  const client = useQueryClient();
  const count = events.length;
  useEffect(() => {
    if (count === 0) return undefined;
    const timer = setTimeout(() => void client.invalidateQueries(), REFRESH_MS);
    return () => clearTimeout(timer);
  }, [count, client]);
  const run = data?.workflowRun;
  const status = run?.status;
  useEffect(() => {
    if (status) announce(`${t.title}: ${texts.status[status]}`);
  }, [status]);
  if (isPending) return <Skeleton lines={12} />;
  if (!run) return <NotFound error={error} />;
  return (
    <>
      <RunHead run={run} />
      <ErrorNote error={error ?? liveError} />
      {run.eventsExpired ? (
        <p className="note">{t.expired}</p>
      ) : (
        data.workflowRunGraph && <RunBody run={run} graph={data.workflowRunGraph} events={events} steps={steps.data?.workflowRun ?? null} />
      )}
    </>
  );
}

/** Returns the events of a run: the first ones by a query, which is quick, all others as they are written. */
function useEvents(id: string): { events: readonly RunEvent[]; error: Error | null } {
  const [events, setEvents] = useState<readonly RunEvent[] | null>(null);
  const first = useRead(firstEvents, events === null ? { id } : null);
  const begun = first.data?.workflowRun?.events.nodes;
  useEffect(() => {
    if (begun) setEvents((old) => old ?? (begun as RunEvent[]));
  }, [begun]);
  const has = events !== null;
  const isEnded = END.test(events?.at(-1)?.type ?? '');
  const [after, setAfter] = useState<number | null>(null);
  if (has && after === null) setAfter(events.at(-1)?.seq ?? 0);
  const error = useFollow(
    runEvents,
    after === null || isEnded ? null : { id, after },
    (answer) => ({ after: answer.workflowRunEvents?.seq ?? 0 }),
    ({ workflowRunEvents: event }) => {
      if (event) setEvents((old) => (event.seq > (old?.at(-1)?.seq ?? 0) ? [...(old ?? []), event as RunEvent] : old));
    },
  );
  return { events: events ?? NO_EVENTS, error: first.error ?? error };
}

function RunHead({ run }: { run: Run }) {
  const [address] = useAddress();
  const { id, workflow, status, startedAt, finishedAt, mode, version, startedBy, parent, retryOf, retriedBy, deadlineAt } = run;
  const facts: [string, React.ReactNode][] = [
    [t.started, <Time key="at" at={startedAt} />],
    [t.duration, <Duration key="for" from={startedAt} to={finishedAt} />],
    [t.by, startedBy ? `${mode}, ${startedBy.name}` : mode],
    [t.version, version],
  ];
  if (deadlineAt) facts.push([t.deadline, <Time key="deadline" at={deadlineAt} />]);
  if (parent) facts.push([t.parent, <RunLink key="parent" id={parent.id} text={parent.workflow?.name ?? shortId(parent.id)} />]);
  if (retryOf) facts.push([t.retryOf, <RunLink key="of" id={retryOf.id} text={shortId(retryOf.id)} />]);
  if (retriedBy) facts.push([t.retriedBy, <RunLink key="by" id={retriedBy.id} text={shortId(retriedBy.id)} />]);
  return (
    <header className="run-head">
      <div className="page-head">
        <h1>
          {workflow ? <Link href={`/workflows/${workflow.id}`}>{workflow.name}</Link> : t.title} <code>{shortId(id)}</code>
        </h1>
        <CopyButton text={id} />
        <Status status={status} />
      </div>
      <dl className="facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <RunActions run={run} node={address.get('step')} />
    </header>
  );
}

function RunLink({ id, text }: { id: string; text: string }) {
  return <Link href={`/runs/${id}`}>{text}</Link>;
}

function RunBody({
  run,
  graph,
  events,
  steps,
}: {
  run: Run;
  graph: Omit<GraphShape, 'failurePorts'>;
  events: readonly RunEvent[];
  steps: Parameters<typeof StepPanel>[0]['steps'];
}) {
  const [address, change] = useAddress();
  const [at, setAt] = useState<number | null>(null);
  const chosen = address.get('step');
  const tab = address.get('tab') ?? 'graph';
  const definition = run.workflowVersion?.definition;
  const shape = useMemo(() => ({ ...graph, failurePorts: failurePortsOf(definition) }), [graph, definition]);
  const last = events.at(-1)?.seq ?? 0;
  const shownSeq = useDeferredValue(at ?? last);
  const past = useMemo(() => events.filter(({ seq }) => seq <= shownSeq), [events, shownSeq]);
  const state = useMemo(() => foldRun(shape, past), [shape, past]);
  const node = chosen ? state.nodes.get(chosen) : undefined;
  const choose = (name: string) => change({ step: name });
  const tabs = (Object.keys(t.tabs) as (keyof typeof t.tabs)[])
    .filter((each) => each !== 'children' || run.children.nodes.length > 0)
    .map((each) => [each, t.tabs[each]] as const);
  return (
    <>
      <Tabs label={t.title} tabs={tabs} chosen={tab} onChoose={(each) => change({ tab: each })} />
      <div role="tabpanel" id="tab-panel" aria-labelledby={`tab-${tab}`}>
        {tab !== 'data' && tab !== 'compare' && <Scrubber last={last} at={at} onChange={setAt} />}
        {tab === 'graph' && <RunGraph shape={shape} state={state} chosen={chosen} onChoose={choose} />}
        {tab === 'timeline' && <Timeline state={state} childRuns={run.children.nodes} chosen={chosen} onChoose={choose} />}
        {tab === 'log' && <EventLog events={past} at={shownSeq} onEvent={setAt} onChoose={choose} />}
        {tab === 'data' && <RunData run={run} />}
        {tab === 'children' && <ChildList run={run} />}
        {tab === 'compare' && <Comparison id={run.id} proposed={run.retryOf?.id ?? null} />}
      </div>
      {chosen && node ? (
        <StepPanel
          runId={run.id}
          name={chosen}
          type={shape.nodes.find((each) => each.node === chosen)?.type ?? ''}
          state={node}
          events={past}
          steps={steps}
        />
      ) : (
        tab !== 'data' && tab !== 'compare' && <p className="hint">{t.noStep}</p>
      )}
    </>
  );
}

/** A slider through the events. `null` stays at the newest one. */
function Scrubber({ last, at, onChange }: { last: number; at: number | null; onChange: (at: number | null) => void }) {
  const [plays, setPlays] = useState(false);
  const seq = at ?? last;
  useEffect(() => {
    if (!plays) return undefined;
    const timer = setTimeout(() => {
      if (seq >= last) setPlays(false);
      onChange(seq + 1 >= last ? null : seq + 1);
    }, PLAY_MS);
    return () => clearTimeout(timer);
  }, [plays, seq, last, onChange]);
  const toggle = () => {
    if (!plays && seq >= last) onChange(1);
    setPlays(!plays);
  };
  return (
    <div className="scrubber">
      <IconButton icon={plays ? Pause : Play} label={plays ? t.stop : t.play} onClick={toggle} />
      <input
        type="range"
        min={1}
        max={Math.max(1, last)}
        value={seq}
        aria-label={t.scrubber}
        aria-valuetext={t.atEvent(seq, last)}
        onChange={({ target }) => onChange(Number(target.value) >= last ? null : Number(target.value))}
      />
      <span className="number">{t.atEvent(seq, last)}</span>
      <IconButton icon={SkipForward} label={t.latest} disabled={at === null} onClick={() => onChange(null)} />
    </div>
  );
}

function RunData({ run }: { run: Run }) {
  return (
    <div className="side-by-side">
      {(['input', 'output', 'error', 'metadata'] as const).map(
        (part) =>
          run[part] != null && (
            <section key={part} className="card">
              <h2>{t[part]}</h2>
              <JsonView value={run[part]} path={part === 'input' ? '$.input' : '$'} label={t[part]} />
            </section>
          ),
      )}
    </div>
  );
}

function ChildList({ run }: { run: Run }) {
  return (
    <ul className="plain">
      {run.children.nodes.map(({ id, status, parentNode, parentIndex, workflow }) => (
        <li key={id}>
          <Status status={status} /> <RunLink id={id} text={workflow?.name ?? shortId(id)} /> <code>{shortId(id)}</code> {parentNode}
          {parentIndex !== null && `[${parentIndex}]`}
        </li>
      ))}
    </ul>
  );
}

/** Everything about one step: what it got, what it returned, its error and log lines, and an approval's buttons. */
import { useState } from 'react';
import { type RunStepsQuery, approveStep } from '../../api/generated.ts';
import { useChange } from '../../api/hooks.ts';
import { JsonView } from '../../components/json_view.tsx';
import { Button, ErrorNote, Status, TextField, Time } from '../../components/ui.tsx';
import { duration } from '../../format.ts';
import { texts } from '../../texts.ts';
import type { NodeState, RunEvent } from './fold.ts';

const t = texts.run;
type Steps = NonNullable<RunStepsQuery['workflowRun']>;

/** The panel. */
export function StepPanel({
  runId,
  name,
  type,
  state,
  events,
  steps,
}: {
  runId: string;
  name: string;
  type: string;
  state: NodeState;
  events: readonly RunEvent[];
  steps: Steps | null;
}) {
  const own = events.filter(({ payload }) => payload['node'] === name);
  const input = own.findLast(({ type: event }) => event === 'step.started')?.payload['input'];
  const ended = own.findLast(({ type: event }) => event === 'step.succeeded' || event === 'step.reused')?.payload;
  const output = ended === undefined ? undefined : (ended['output'] ?? steps?.steps.nodes.find(({ node }) => node === name)?.output);
  const logs = (steps?.logs.nodes ?? []).filter(({ node }) => node === name);
  return (
    <section className="step-panel card" aria-label={`${t.step} ${name}`}>
      <header>
        <h2>{name}</h2>
        <code>{type}</code>
        {state.status !== 'idle' && <Status status={state.status} />}
      </header>
      <p className="hint">
        {state.attempt > 0 && t.attempt(state.attempt)}
        {state.startedAt !== null && state.finishedAt !== null && ` · ${duration(state.finishedAt - state.startedAt)}`}
        {state.port && state.port !== 'main' && ` · ${t.port} ${state.port}`}
        {state.wait && ` · ${t.waitsFor(state.wait.name ?? state.wait.kind)}`}
        {state.wait?.until && (
          <>
            {` ${t.until} `}
            <Time at={state.wait.until} />
          </>
        )}
      </p>
      {state.wait?.kind === 'approval' && <Approval runId={runId} node={name} />}
      {state.error != null && (
        <>
          <h3>{t.error}</h3>
          <JsonView value={state.error} path={`$.nodes.${name}.error`} label={t.error} />
        </>
      )}
      <div className="side-by-side">
        <div>
          <h3>{t.input}</h3>
          <JsonView value={input} path="$.prev" label={t.input} />
        </div>
        <div>
          <h3>{t.output}</h3>
          <JsonView value={output} path={`$.nodes.${name}`} label={t.output} />
        </div>
      </div>
      {logs.length > 0 && (
        <>
          <h3>{t.logs}</h3>
          <ul className="log-lines">
            {logs.map(({ id, ts, level, message, context }) => (
              <li key={id} className={level}>
                <Time at={ts} /> <code>{level}</code> {message}
                {context != null && <JsonView value={context} />}
              </li>
            ))}
          </ul>
        </>
      )}
    </section>
  );
}

function Approval({ runId, node }: { runId: string; node: string }) {
  const [comment, setComment] = useState('');
  const approve = useChange(approveStep);
  const decide = (approved: boolean) => approve.mutate({ id: runId, node, approved, comment: comment || null });
  return (
    <div className="note">
      <TextField label={t.comment} value={comment} onChange={({ target }) => setComment(target.value)} />
      <div className="row">
        <Button kind="primary" busy={approve.isPending} onClick={() => decide(true)}>
          {t.actions.approve}
        </Button>
        <Button kind="danger" busy={approve.isPending} onClick={() => decide(false)}>
          {t.actions.reject}
        </Button>
      </div>
      <ErrorNote error={approve.error} />
    </div>
  );
}

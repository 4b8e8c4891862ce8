/**
 * Edits the definition of a workflow as JSON beside its graph: checked by the server while it is typed, saved by
 * itself, and never over what somebody else has saved meanwhile.
 */
import { useEffect, useEffectEvent, useMemo, useState } from 'react';
import { type ProblemsQuery, problems, saveWorkflow } from '../../api/generated.ts';
import { ApiError, request } from '../../api/client.ts';
import { useRead } from '../../api/hooks.ts';
import { useQueryClient } from '@tanstack/react-query';
import { announce } from '../../components/announce.ts';
import { Button, ErrorNote, TextArea } from '../../components/ui.tsx';
import { texts } from '../../texts.ts';
import { parsed } from '../run/actions.tsx';
import { foldRun } from '../run/fold.ts';
import { RunGraph } from '../run/graph.tsx';
import type { OpenWorkflow } from './page.tsx';
import { shapeOf } from './shape.ts';

const t = texts.workflow;
/** Milliseconds without typing after which the definition is checked and saved. */
const SAVE_MS = 800;
type Problem = NonNullable<ProblemsQuery['validateWorkflow']>['nodes'][number];
type SaveState = { kind: 'saved' | 'saving' | 'unsaved' } | { kind: 'conflict' } | { kind: 'failed'; error: Error };

/** The editor. `onSaved` is called with whether the stored definition is the one that is shown. */
export function Editor({ workflow, onSaved }: { workflow: OpenWorkflow; onSaved: (isSaved: boolean) => void }) {
  const stored = JSON.stringify(workflow.definition, null, 2);
  const [text, setText] = useState(stored);
  const [base, setBase] = useState({ revision: workflow.revision, text: stored });
  const [state, setState] = useState<SaveState>({ kind: 'saved' });
  const [settled, setSettled] = useState(text);
  const client = useQueryClient();
  const definition = useMemo(() => parsed(settled)?.value, [settled]);
  const isShown = typeof definition === 'object' && definition !== null;

  const save = useEffectEvent(async (expected: number) => {
    const value = parsed(text);
    if (!value || text === base.text) return;
    setState({ kind: 'saving' });
    try {
      const done = await request(saveWorkflow, { id: workflow.id, definition: value.value, revision: expected });
      setBase({ revision: done.saveWorkflow!.workflow.revision, text });
      setState({ kind: 'saved' });
      announce(t.saved);
    } catch (error) {
      setState(error instanceof ApiError && error.code === 'CONFLICT' ? { kind: 'conflict' } : { kind: 'failed', error: error as Error });
      void client.invalidateQueries();
    }
  });
  useEffect(() => {
    const timer = setTimeout(() => {
      setSettled(text);
      void save(base.revision);
    }, SAVE_MS);
    return () => clearTimeout(timer);
  }, [text, base.revision]);

  const isSaved = state.kind === 'saved' && text === base.text;
  useEffect(() => onSaved(isSaved), [isSaved, onSaved]);

  const change = (next: string) => {
    setText(next);
    if (state.kind !== 'conflict') setState({ kind: next === base.text ? 'saved' : 'unsaved' });
  };
  const adopt = (next: string) => {
    setBase({ revision: workflow.revision, text: stored });
    setText(next);
    setState({ kind: next === stored ? 'saved' : 'unsaved' });
  };
  return (
    <>
      <div className="row save-state" role="status">
        {state.kind === 'failed' ? <ErrorNote error={state.error} onRetry={() => setText(`${text} `)} /> : <SaveText state={state.kind} />}
      </div>
      {state.kind === 'conflict' && <Conflict theirs={stored} onMine={() => adopt(text)} onTheirs={() => adopt(stored)} />}
      <div className="editor">
        <TextArea
          label={t.definition}
          rows={26}
          value={text}
          problem={parsed(text) ? undefined : t.notJson}
          onChange={({ target }) => change(target.value)}
        />
        <div>
          <h2>{t.preview}</h2>
          {isShown && <Preview definition={definition} />}
          {isShown && <Problems definition={definition} />}
        </div>
      </div>
    </>
  );
}

function SaveText({ state }: { state: 'saved' | 'saving' | 'unsaved' | 'conflict' }) {
  const text = { saved: t.saved, saving: t.saving, unsaved: t.unsaved, conflict: t.conflict }[state];
  return <span className="hint">{text}</span>;
}

function Conflict({ theirs, onMine, onTheirs }: { theirs: string; onMine: () => void; onTheirs: () => void }) {
  return (
    <div className="note danger" role="alert">
      <div>
        <p>{t.conflict}</p>
        <h3>{t.theirs}</h3>
        <pre tabIndex={0}>{theirs}</pre>
      </div>
      <Button onClick={onMine}>{t.keepMine}</Button>
      <Button onClick={onTheirs}>{t.useTheirs}</Button>
    </div>
  );
}

function Preview({ definition }: { definition: object }) {
  const shape = useMemo(() => shapeOf(definition), [definition]);
  const [chosen, setChosen] = useState<string | null>(null);
  const state = useMemo(() => shape && foldRun(shape, []), [shape]);
  if (!shape || !state || shape.nodes.length === 0) return null;
  return <RunGraph key={shape.nodes.length} shape={shape} state={state} chosen={chosen} onChoose={setChosen} />;
}

function Problems({ definition }: { definition: object }) {
  const { data, error } = useRead(problems, { definition }, { keepPrevious: true });
  const found: readonly Problem[] = data?.validateWorkflow?.nodes ?? [];
  return (
    <section aria-live="polite">
      <h2>{t.problems}</h2>
      <ErrorNote error={error} />
      {data && found.length === 0 && <p className="note success">{t.noProblems}</p>}
      <ul className="plain">
        {found.map(({ pointer, code, message, severity }) => (
          <li key={`${pointer}${code}${message}`} className={severity === 'error' ? 'problem' : 'hint'}>
            <code>{pointer}</code> {message}
          </li>
        ))}
      </ul>
    </section>
  );
}

/** The commands on a run: each a button that asks for what the command needs. */
import { Ban, GitFork, Pause, Play, Radio, RotateCcw, ShieldCheck } from 'lucide-react';
import { useState } from 'react';
import { useLocation } from 'wouter';
import { type RunPageQuery, cancelRun, forkRun, pauseRun, resumeRun, retryRun, signalRun, verifyRun } from '../../api/generated.ts';
import { useChange } from '../../api/hooks.ts';
import { announce } from '../../components/announce.ts';
import { Button, Dialog, ErrorNote, FormDialog, TextArea, TextField } from '../../components/ui.tsx';
import { texts } from '../../texts.ts';

const t = texts.run;
type Run = NonNullable<RunPageQuery['workflowRun']>;
type Asked = 'cancel' | 'fork' | 'signal' | 'verify' | null;

/** The buttons that fit the status of the run. `node` is the chosen step: retry and fork begin there. */
export function RunActions({ run, node }: { run: Run; node: string | null }) {
  const [asked, setAsked] = useState<Asked>(null);
  const [, navigate] = useLocation();
  const { id, status } = run;
  const isOpen = ['running', 'waiting', 'paused'].includes(status);
  const close = () => setAsked(null);
  const pause = useChange(pauseRun);
  const resume = useChange(resumeRun);
  const retry = useChange(retryRun, { onSuccess: (data) => navigate(`/runs/${data.retryRun!.workflowRun.id}`) });
  return (
    <div className="row actions">
      {isOpen && status !== 'paused' && (
        <Button icon={Pause} busy={pause.isPending} onClick={() => pause.mutate({ id })}>
          {t.actions.pause}
        </Button>
      )}
      {status === 'paused' && (
        <Button icon={Play} kind="primary" busy={resume.isPending} onClick={() => resume.mutate({ id })}>
          {t.actions.resume}
        </Button>
      )}
      {(status === 'error' || status === 'canceled') && (
        <Button icon={RotateCcw} kind="primary" busy={retry.isPending} onClick={() => retry.mutate({ id, node })}>
          {node ? t.actions.retryFrom : t.actions.retry}
        </Button>
      )}
      {isOpen && (
        <Button icon={Radio} onClick={() => setAsked('signal')}>
          {t.actions.signal}
        </Button>
      )}
      <Button icon={GitFork} onClick={() => setAsked('fork')}>
        {node ? t.actions.forkFrom : t.actions.fork}
      </Button>
      <Button icon={ShieldCheck} onClick={() => setAsked('verify')}>
        {t.actions.verify}
      </Button>
      {isOpen && (
        <Button icon={Ban} kind="danger" onClick={() => setAsked('cancel')}>
          {t.actions.cancel}
        </Button>
      )}
      <ErrorNote error={pause.error ?? resume.error ?? retry.error} />
      {asked === 'cancel' && <CancelDialog id={id} onClose={close} />}
      {asked === 'signal' && <SignalDialog id={id} onClose={close} />}
      {asked === 'fork' && <ForkDialog run={run} node={node} onClose={close} />}
      {asked === 'verify' && <VerifyDialog id={id} onClose={close} />}
    </div>
  );
}

function CancelDialog({ id, onClose }: { id: string; onClose: () => void }) {
  const [reason, setReason] = useState('');
  const cancel = useChange(cancelRun, { onSuccess: onClose });
  return (
    <FormDialog
      title={t.actions.cancel}
      submit={t.actions.cancel}
      danger
      busy={cancel.isPending}
      error={cancel.error}
      onClose={onClose}
      onSubmit={() => cancel.mutate({ id, reason: reason || null })}
    >
      <p>{t.confirmCancel}</p>
      <TextField label={t.reason} value={reason} onChange={({ target }) => setReason(target.value)} />
    </FormDialog>
  );
}

function SignalDialog({ id, onClose }: { id: string; onClose: () => void }) {
  const [name, setName] = useState('');
  const [text, setText] = useState('');
  const payload = text ? parsed(text) : { value: null };
  const signal = useChange(signalRun, { onSuccess: onClose });
  return (
    <FormDialog
      title={t.signalTitle}
      submit={t.actions.signal}
      busy={signal.isPending}
      error={signal.error}
      disabled={!payload}
      onClose={onClose}
      onSubmit={() => payload && signal.mutate({ id, name, payload: payload.value })}
    >
      <TextField label={t.signalName} required value={name} onChange={({ target }) => setName(target.value)} />
      <TextArea
        label={t.signalPayload}
        rows={5}
        value={text}
        problem={payload ? undefined : t.forkWrong}
        onChange={({ target }) => setText(target.value)}
      />
    </FormDialog>
  );
}

function ForkDialog({ run, node, onClose }: { run: Run; node: string | null; onClose: () => void }) {
  const [text, setText] = useState(() => JSON.stringify(run.input ?? {}, null, 2));
  const [, navigate] = useLocation();
  const input = parsed(text);
  const fork = useChange(forkRun, { onSuccess: (data) => navigate(`/runs/${data.forkRun!.workflowRun.id}`) });
  return (
    <FormDialog
      title={node ? `${t.forkTitle}: ${node}` : t.forkTitle}
      submit={t.actions.fork}
      wide
      busy={fork.isPending}
      error={fork.error}
      disabled={!input}
      onClose={onClose}
      onSubmit={() => input && fork.mutate({ id: run.id, node, input: input.value })}
    >
      <p className="hint">{t.forkHint}</p>
      <TextArea
        label={t.input}
        rows={14}
        value={text}
        problem={input ? undefined : t.forkWrong}
        onChange={({ target }) => setText(target.value)}
      />
    </FormDialog>
  );
}

function VerifyDialog({ id, onClose }: { id: string; onClose: () => void }) {
  const verify = useChange(verifyRun, {
    onSuccess: (data) => announce(data.verifyRun!.differences.length ? t.differences(data.verifyRun!.differences.length) : t.verified),
  });
  const differences = verify.data?.verifyRun?.differences;
  return (
    <Dialog title={t.actions.verify} onClose={onClose} wide>
      <ErrorNote error={verify.error} onRetry={() => verify.mutate({ id })} />
      {differences?.length === 0 && <p className="note success">{t.verified}</p>}
      {differences && differences.length > 0 && (
        <>
          <p className="note danger">{t.differences(differences.length)}</p>
          <pre tabIndex={0}>{JSON.stringify(differences, null, 2)}</pre>
        </>
      )}
      {!differences && (
        <Button kind="primary" busy={verify.isPending} onClick={() => verify.mutate({ id })}>
          {t.actions.verify}
        </Button>
      )}
    </Dialog>
  );
}

/** Returns the value of a JSON text; null for a text that is none. */
export function parsed(text: string): { value: unknown } | null {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return null;
  }
}

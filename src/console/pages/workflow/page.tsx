/** One workflow: what it is connected to and how it runs, its definition to edit, its versions. */
import { Archive, Download, Play, Upload } from 'lucide-react';
import { useState } from 'react';
import { Link, useLocation } from 'wouter';
import {
  type WorkflowPageQuery,
  archiveWorkflow,
  exportedWorkflow,
  publishWorkflow,
  startWorkflowRun,
  unpublishWorkflow,
  viewer,
  workflowPage,
} from '../../api/generated.ts';
import { request } from '../../api/client.ts';
import { useChange, useRead } from '../../api/hooks.ts';
import { useAddress } from '../../components/address.ts';
import { NotFound } from '../../components/not_found.tsx';
import { webhookAddress } from '../../components/webhook_address.ts';
import {
  Button,
  CopyButton,
  Duration,
  ErrorNote,
  FormDialog,
  Skeleton,
  Status,
  Tabs,
  TextArea,
  TextField,
  Time,
} from '../../components/ui.tsx';
import { texts } from '../../texts.ts';
import { parsed } from '../run/actions.tsx';
import { Editor } from './editor.tsx';
import { Versions } from './versions.tsx';
import './workflow.css';

const t = texts.workflow;
/** A workflow as this page reads it. */
export type OpenWorkflow = NonNullable<WorkflowPageQuery['workflow']>;
type Asked = 'run' | 'publish' | 'archive' | null;

/** The page. */
export function WorkflowPage({ id }: { id: string }) {
  const { data, error, isPending } = useRead(workflowPage, { id });
  const [address, change] = useAddress();
  const tab = address.get('tab') ?? 'overview';
  const [isSaved, setSaved] = useState(true);
  const workflow = data?.workflow;
  if (isPending) return <Skeleton lines={12} />;
  if (!workflow) return <NotFound error={error} />;
  return (
    <>
      <WorkflowHead workflow={workflow} isSaved={isSaved || tab !== 'edit'} />
      <ErrorNote error={error} />
      {workflow.isOverLimit && <p className="note">{t.overLimit}</p>}
      <Tabs label={workflow.name} tabs={Object.entries(t.tabs)} chosen={tab} onChoose={(each) => change({ tab: each })} />
      <div role="tabpanel" id="tab-panel" aria-labelledby={`tab-${tab}`}>
        {tab === 'overview' && <Overview workflow={workflow} />}
        {tab === 'edit' && <Editor workflow={workflow} onSaved={setSaved} />}
        {tab === 'versions' && <Versions workflow={workflow} />}
      </div>
    </>
  );
}

function WorkflowHead({ workflow, isSaved }: { workflow: OpenWorkflow; isSaved: boolean }) {
  const { id, name, description, tags, publishedVersion, archivedAt } = workflow;
  const [asked, setAsked] = useState<Asked>(null);
  const close = () => setAsked(null);
  const unpublish = useChange(unpublishWorkflow);
  return (
    <header>
      <div className="page-head">
        <h1>{name}</h1>
        <span className="tag">{publishedVersion === null ? texts.workflows.draft : texts.workflows.published(publishedVersion)}</span>
        {tags.map((tag) => (
          <span key={tag} className="tag">
            {tag}
          </span>
        ))}
        <div className="row">
          {publishedVersion !== null && (
            <Button icon={Play} onClick={() => setAsked('run')}>
              {t.run}
            </Button>
          )}
          <Button
            icon={Upload}
            kind="primary"
            disabled={!isSaved}
            title={isSaved ? undefined : t.unsaved}
            onClick={() => setAsked('publish')}
          >
            {t.publish}
          </Button>
          {publishedVersion !== null && (
            <Button busy={unpublish.isPending} onClick={() => unpublish.mutate({ id })}>
              {t.unpublish}
            </Button>
          )}
          <Button icon={Download} onClick={() => void download(id, name)}>
            {t.exportFile}
          </Button>
          {archivedAt === null && (
            <Button icon={Archive} kind="danger" onClick={() => setAsked('archive')}>
              {t.archive}
            </Button>
          )}
        </div>
      </div>
      {description && <p className="hint">{description}</p>}
      <ErrorNote error={unpublish.error} />
      {asked === 'run' && <RunDialog id={id} onClose={close} />}
      {asked === 'publish' && <PublishDialog id={id} onClose={close} />}
      {asked === 'archive' && <ArchiveDialog id={id} onClose={close} />}
    </header>
  );
}

/** Saves the exported workflow as a file. */
async function download(id: string, name: string): Promise<void> {
  const { exportWorkflow } = await request(exportedWorkflow, { id });
  const url = URL.createObjectURL(new Blob([JSON.stringify(exportWorkflow, null, 2)], { type: 'application/json' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = `${name.replaceAll(/[^\w-]+/g, '-')}.json`;
  link.click();
  URL.revokeObjectURL(url);
}

function RunDialog({ id, onClose }: { id: string; onClose: () => void }) {
  const [text, setText] = useState('{}');
  const [, navigate] = useLocation();
  const input = parsed(text);
  const start = useChange(startWorkflowRun, { onSuccess: (data) => navigate(`/runs/${data.startWorkflowRun!.workflowRun.id}`) });
  return (
    <FormDialog
      title={t.run}
      submit={t.run}
      wide
      busy={start.isPending}
      error={start.error}
      disabled={!input}
      onClose={onClose}
      onSubmit={() => input && start.mutate({ id, input: input.value })}
    >
      <TextArea
        label={t.runInput}
        rows={10}
        value={text}
        problem={input ? undefined : texts.run.forkWrong}
        onChange={({ target }) => setText(target.value)}
      />
    </FormDialog>
  );
}

function PublishDialog({ id, onClose }: { id: string; onClose: () => void }) {
  const [message, setMessage] = useState('');
  const publish = useChange(publishWorkflow, { onSuccess: onClose });
  return (
    <FormDialog
      title={t.publish}
      submit={t.publish}
      busy={publish.isPending}
      error={publish.error}
      onClose={onClose}
      onSubmit={() => publish.mutate({ id, message: message || null })}
    >
      <TextField label={t.publishMessage} value={message} onChange={({ target }) => setMessage(target.value)} />
    </FormDialog>
  );
}

function ArchiveDialog({ id, onClose }: { id: string; onClose: () => void }) {
  const archive = useChange(archiveWorkflow, { onSuccess: onClose });
  return (
    <FormDialog
      title={t.archive}
      submit={t.archive}
      danger
      busy={archive.isPending}
      error={archive.error}
      onClose={onClose}
      onSubmit={() => archive.mutate({ id })}
    >
      <p>{t.confirmArchive}</p>
    </FormDialog>
  );
}

function Overview({ workflow: { id, runs, webhooks, schedules } }: { workflow: OpenWorkflow }) {
  const key = useRead(viewer, {}).data?.currentOrganization?.webhookKey;
  return (
    <div className="side-by-side">
      <section className="card">
        <h2>{t.recent}</h2>
        {runs.nodes.length === 0 && <p className="hint">{t.noRuns}</p>}
        <ul className="plain">
          {runs.nodes.map(({ id: run, status, startedAt, finishedAt, mode }) => (
            <li key={run} className="row">
              <Status status={status} />
              <Link href={`/runs/${run}`}>
                <Time at={startedAt} />
              </Link>
              <Duration from={startedAt} to={finishedAt} />
              <span className="hint">{mode}</span>
            </li>
          ))}
        </ul>
        <p>
          <Link href={`/runs?workflow=${id}`}>{t.allRuns}</Link>
        </p>
      </section>
      {key && webhooks.nodes.length > 0 && (
        <section className="card">
          <h2>{t.webhooks}</h2>
          {webhooks.nodes.map(({ id: hook, node, path, methods }) => {
            const { url, curl } = webhookAddress(key, path, methods);
            return (
              <div key={hook}>
                <h3>
                  {node}: {methods.join(', ')}
                </h3>
                <p className="address">
                  <code>{url}</code>
                  <CopyButton text={url} />
                </p>
                <CopyButton quiet={false} label={texts.triggers.curl} text={curl} />
              </div>
            );
          })}
        </section>
      )}
      {schedules.nodes.length > 0 && (
        <section className="card">
          <h2>{t.schedules}</h2>
          <ul className="plain">
            {schedules.nodes.map(({ id: schedule, node, nextRunAt }) => (
              <li key={schedule}>
                {t.nextRun(node)} <Time at={nextRunAt} />
              </li>
            ))}
          </ul>
        </section>
      )}
    </div>
  );
}

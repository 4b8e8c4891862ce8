/** The workflows of the organization, with how their last runs ended; templates, and an import from n8n. */
import { Download, Plus } from 'lucide-react';
import { useDeferredValue, useState } from 'react';
import { Link, useLocation } from 'wouter';
import { type WorkflowListQuery, copyTemplate, createWorkflow, importN8n, templateList, workflowList } from '../../api/generated.ts';
import { useChange, useList, useRead } from '../../api/hooks.ts';
import { useAddress } from '../../components/address.ts';
import { Table } from '../../components/table.tsx';
import { Button, Dialog, Empty, ErrorNote, FormDialog, Skeleton, TextArea, TextField, Time } from '../../components/ui.tsx';
import { duration } from '../../format.ts';
import { texts } from '../../texts.ts';
import { STARTERS } from './starters.ts';
import './workflows.css';

const t = texts.workflows;
const PAGE_SIZE = 50;
type Listed = NonNullable<WorkflowListQuery['searchWorkflows']>['nodes'][number];

/** The page. */
export function WorkflowsPage() {
  const [address, change] = useAddress();
  const archived = address.get('archived') === '1';
  const query = useDeferredValue(address.get('query') ?? '');
  const [importing, setImporting] = useState(false);
  const list = useList(workflowList, { first: PAGE_SIZE, archived, ...(query ? { query } : {}) }, (data) => data.searchWorkflows);
  const { nodes: workflows, isPending, error, hasNextPage, fetchNextPage } = list;
  const { columns } = t;
  return (
    <>
      <header className="page-head">
        <h1>{t.title}</h1>
        <div className="row">
          <Button icon={Download} onClick={() => setImporting(true)}>
            {t.importN8n}
          </Button>
          <Button icon={Plus} kind="primary" onClick={() => change({ templates: '1' })}>
            {t.create}
          </Button>
        </div>
      </header>
      <div className="row end">
        <TextField
          label={t.search}
          type="search"
          value={address.get('query') ?? ''}
          onChange={({ target }) => change({ query: target.value })}
        />
        <button type="button" className="chip field" aria-pressed={archived} onClick={() => change({ archived: archived ? null : '1' })}>
          {t.archived}
        </button>
      </div>
      <ErrorNote error={error} />
      {isPending ? (
        <Skeleton lines={10} />
      ) : workflows.length === 0 && !error ? (
        <Empty title={query || archived ? t.noMatch : t.empty}>
          <Button kind="primary" onClick={() => change({ templates: '1' })}>
            {t.templates}
          </Button>
        </Empty>
      ) : (
        <Table
          label={t.title}
          columns={[columns.name, columns.state, columns.runs, columns.failures, columns.updated]}
          rows={workflows.map((workflow) => ({ key: workflow.id, cells: cellsOf(workflow) }))}
        />
      )}
      {hasNextPage && <Button onClick={() => void fetchNextPage()}>{texts.loadMore}</Button>}
      {address.get('templates') && <Templates onClose={() => change({ templates: null })} />}
      {importing && <ImportDialog onClose={() => setImporting(false)} />}
    </>
  );
}

function cellsOf({ id, name, description, tags, publishedVersion, updatedAt, runs: { nodes: runs } }: Listed) {
  const ended = runs.filter(({ status }) => status === 'success' || status === 'error');
  const failed = ended.filter(({ status }) => status === 'error').length;
  return [
    <span key="name" className="workflow-name">
      <Link href={`/workflows/${id}`}>{name}</Link>
      {tags.map((tag) => (
        <span key={tag} className="tag">
          {tag}
        </span>
      ))}
      {description && <span className="hint">{description}</span>}
    </span>,
    publishedVersion === null ? t.draft : t.published(publishedVersion),
    <Sparkline key="runs" runs={runs} label={t.runsOf(name, failed, runs.length)} />,
    ended.length ? t.failures(Math.round((100 * failed) / ended.length)) : texts.none,
    <Time key="at" at={updatedAt} />,
  ];
}

/** Bars of the last runs, oldest first: the height is the duration, the color the status. */
function Sparkline({ runs, label }: { runs: Listed['runs']['nodes']; label: string }) {
  const longest = Math.max(1, ...runs.map(({ durationMs }) => durationMs ?? 0));
  return (
    <svg className="sparkline" viewBox="0 0 120 24" role="img" aria-label={label}>
      {runs.toReversed().map(({ id, status, durationMs }, index) => {
        const height = 4 + (20 * (durationMs ?? longest)) / longest;
        return (
          <rect key={id} className={status} x={index * 6} y={24 - height} width={4} height={height}>
            <title>{`${texts.status[status]}, ${durationMs === null ? '…' : duration(durationMs)}`}</title>
          </rect>
        );
      })}
    </svg>
  );
}

function Templates({ onClose }: { onClose: () => void }) {
  const [, navigate] = useLocation();
  const { data, error } = useRead(templateList, {});
  const copy = useChange(copyTemplate, { onSuccess: (done) => navigate(`/workflows/${done.copyTemplate!.workflow.id}?tab=edit`) });
  const create = useChange(createWorkflow, { onSuccess: (done) => navigate(`/workflows/${done.createWorkflow!.workflow.id}?tab=edit`) });
  const busy = copy.isPending || create.isPending;
  return (
    <Dialog title={t.templates} onClose={onClose} wide>
      <p className="hint">{t.templatesHint}</p>
      <ErrorNote error={error ?? copy.error ?? create.error} />
      <ul className="cards">
        {(data?.workflowTemplates?.nodes ?? []).map(({ id, name, description }) => (
          <TemplateCard key={id} name={name} description={description} busy={busy} onUse={() => copy.mutate({ id })} />
        ))}
        {STARTERS.map(({ name, description, definition }) => (
          <TemplateCard
            key={name}
            name={name}
            description={description}
            busy={busy}
            onUse={() => create.mutate({ name, description, definition })}
          />
        ))}
      </ul>
    </Dialog>
  );
}

function TemplateCard({ name, description, busy, onUse }: { name: string; description: string | null; busy: boolean; onUse: () => void }) {
  return (
    <li className="card">
      <h3>{name}</h3>
      <p>{description}</p>
      <Button kind="primary" disabled={busy} aria-label={`${t.use}: ${name}`} onClick={onUse}>
        {t.use}
      </Button>
    </li>
  );
}

function ImportDialog({ onClose }: { onClose: () => void }) {
  const [text, setText] = useState('');
  const change = useChange(importN8n);
  const imported = change.data?.importN8NWorkflow?.workflowImport;
  const [problem, setProblem] = useState<string | undefined>();
  if (imported) {
    return (
      <Dialog title={t.importN8n} onClose={onClose} wide>
        <p>{t.importDone}</p>
        <pre tabIndex={0}>{JSON.stringify(imported.problems, null, 2)}</pre>
        <p>
          <Link href={`/workflows/${imported.workflowId}`}>{t.openImported}</Link>
        </p>
      </Dialog>
    );
  }
  const submit = () => {
    try {
      change.mutate({ doc: JSON.parse(text) as unknown });
    } catch {
      setProblem(texts.run.forkWrong);
    }
  };
  return (
    <FormDialog
      title={t.importN8n}
      submit={t.importSubmit}
      wide
      busy={change.isPending}
      error={change.error}
      onClose={onClose}
      onSubmit={submit}
    >
      <TextArea
        label={t.document}
        hint={t.importHint}
        problem={problem}
        rows={14}
        required
        value={text}
        onChange={({ target }) => {
          setText(target.value);
          setProblem(undefined);
        }}
      />
    </FormDialog>
  );
}

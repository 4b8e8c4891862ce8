/** The runs of the organization: filtered, newest first, live, as many as there are. */
import { useEffect, useEffectEvent, useRef, useState } from 'react';
import { Link } from 'wouter';
import { type RunListQuery, cancelRun, retryRun, runChanges, runCount, runFilterChoices, runList } from '../../api/generated.ts';
import { useFollow, useList, useRead } from '../../api/hooks.ts';
import { request } from '../../api/client.ts';
import { announce } from '../../components/announce.ts';
import { useAddress } from '../../components/address.ts';
import { Button, Choice, Empty, ErrorNote, FormDialog, Skeleton, TextField } from '../../components/ui.tsx';
import { count as formatCount } from '../../format.ts';
import { texts } from '../../texts.ts';
import { FILTER_NAMES, MODES, PERIODS, STATUSES, filterOf } from './filters.ts';
import { RunTable } from './table.tsx';
import './runs.css';

const t = texts.runs;
const PAGE_SIZE = 50;
/** Milliseconds between two reads of the pages that are shown, while runs change. */
const REFRESH_MS = 500;

/** A run of the list. */
export type ListedRun = NonNullable<RunListQuery['workflowRuns']>['nodes'][number];

/** The page. */
export function RunsPage() {
  const [address, change] = useAddress();
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const [openedAt] = useState(Date.now);
  const filter = filterOf(address, openedAt);
  const filtered = filter ? { filter } : {};
  const list = useList(runList, { first: PAGE_SIZE, ...filtered }, (data) => data.workflowRuns);
  const { nodes: runs, error, isPending, hasNextPage, fetchNextPage, isFetchingNextPage, refetch } = list;
  const counted = useRead(runCount, filtered, { keepPrevious: true });
  const count = counted.data?.workflowRunCount;
  const refresh = useThrottled(() => {
    void refetch();
    void counted.refetch();
  }, REFRESH_MS);
  const liveError = useFollow(runChanges, filtered, (data) => ({ after: data.workflowRuns?.cursor ?? null }), refresh);
  return (
    <>
      <header className="page-head">
        <h1>{t.title}</h1>
        <p className="hint">{count && t.count(formatCount(count.count), count.isExact)}</p>
        <Selection selected={selected} onDone={() => setSelected(new Set())} refetch={() => void refetch()} />
      </header>
      <Filters address={address} change={change} />
      <ErrorNote error={error ?? liveError} />
      {isPending ? (
        <Skeleton lines={14} />
      ) : runs.length === 0 && !error ? (
        <NoRuns filtered={filter !== null} onClear={() => change(Object.fromEntries(FILTER_NAMES.map((name) => [name, null])))} />
      ) : (
        <RunTable
          runs={runs}
          selected={selected}
          onSelect={setSelected}
          hasMore={hasNextPage}
          onMore={() => !isFetchingNextPage && void fetchNextPage()}
        />
      )}
    </>
  );
}

function NoRuns({ filtered, onClear }: { filtered: boolean; onClear: () => void }) {
  if (filtered) {
    return (
      <Empty title={t.noMatch}>
        <Button onClick={onClear}>{t.clear}</Button>
      </Empty>
    );
  }
  return (
    <Empty title={t.empty}>
      <p>{t.emptyHint}</p>
      <Link href="/workflows?templates=1" className="button primary">
        {t.emptyAction}
      </Link>
    </Empty>
  );
}

function Filters({ address, change }: { address: URLSearchParams; change: (changes: Record<string, string | null>) => void }) {
  const { data } = useRead(runFilterChoices, {});
  const chosen = (address.get('status') ?? '').split(',').filter(Boolean);
  const toggle = (status: string) => {
    const next = chosen.includes(status) ? chosen.filter((each) => each !== status) : [...chosen, status];
    change({ status: next.join(',') });
  };
  return (
    <form className="filters" aria-label={t.filters} onSubmit={(event) => event.preventDefault()}>
      <fieldset className="chips">
        <legend>{t.status}</legend>
        {STATUSES.map((status) => (
          <button
            key={status}
            type="button"
            className={`chip ${status}`}
            aria-pressed={chosen.includes(status)}
            onClick={() => toggle(status)}
          >
            {texts.status[status]}
          </button>
        ))}
      </fieldset>
      <Choice
        label={t.workflow}
        value={address.get('workflow') ?? ''}
        options={[['', t.allWorkflows], ...(data?.workflows?.nodes ?? []).map(({ id, name }) => [id, name] as const)]}
        onChange={({ target }) => change({ workflow: target.value })}
      />
      <Choice
        label={t.mode}
        value={address.get('mode') ?? ''}
        options={[['', t.allModes], ...MODES.map((mode) => [mode, mode] as const)]}
        onChange={({ target }) => change({ mode: target.value })}
      />
      <Choice
        label={t.since}
        value={address.get('since') ?? ''}
        options={[['', t.always], ...Object.keys(PERIODS).map((period) => [period, t.periods[period] ?? period] as const)]}
        onChange={({ target }) => change({ since: target.value })}
      />
      <TypedFilter label={t.errorCode} name="errorCode" address={address} change={change} />
      <TypedFilter label={t.longerThan} name="longerThan" type="number" address={address} change={change} />
      <TypedFilter label={t.text} name="text" type="search" address={address} change={change} />
    </form>
  );
}

/** A filter that is typed: it applies when the field is left, or with Enter. */
function TypedFilter({
  label,
  name,
  type = 'text',
  address,
  change,
}: {
  label: string;
  name: string;
  type?: string;
  address: URLSearchParams;
  change: (changes: Record<string, string | null>) => void;
}) {
  const applied = address.get(name) ?? '';
  const [text, setText] = useState(applied);
  const apply = () => text !== applied && change({ [name]: text });
  return (
    <TextField
      label={label}
      type={type}
      min={0}
      value={text}
      onChange={({ target }) => setText(target.value)}
      onBlur={apply}
      onKeyDown={({ key }) => key === 'Enter' && apply()}
    />
  );
}

/** Returns a function that calls `work` at most once in so many milliseconds, and once more after the last call. */
function useThrottled(work: () => void, milliseconds: number): () => void {
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const latest = useEffectEvent(work);
  useEffect(() => () => clearTimeout(timer.current), []);
  const [call] = useState(() => () => {
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      latest();
    }, milliseconds);
  });
  return call;
}

function Selection({ selected, onDone, refetch }: { selected: ReadonlySet<string>; onDone: () => void; refetch: () => void }) {
  const [confirming, setConfirming] = useState(false);
  const [busy, setBusy] = useState(false);
  if (selected.size === 0) return null;
  const apply = async (command: (id: string) => Promise<unknown>) => {
    setBusy(true);
    const results = await Promise.allSettled([...selected].map(command));
    const failed = results.filter(({ status }) => status === 'rejected').length;
    announce(t.done(results.length - failed, failed));
    setBusy(false);
    setConfirming(false);
    onDone();
    refetch();
  };
  return (
    <div className="row" role="group" aria-label={t.selected(selected.size)}>
      <span>{t.selected(selected.size)}</span>
      <Button busy={busy} onClick={() => void apply((id) => request(retryRun, { id }))}>
        {t.retrySelected}
      </Button>
      <Button kind="danger" busy={busy} onClick={() => setConfirming(true)}>
        {t.cancelSelected}
      </Button>
      {confirming && (
        <FormDialog
          title={t.cancelSelected}
          submit={t.cancelSelected}
          danger
          busy={busy}
          onClose={() => setConfirming(false)}
          onSubmit={() => void apply((id) => request(cancelRun, { id }))}
        >
          <p>{t.confirmCancel(selected.size)}</p>
        </FormDialog>
      )}
    </div>
  );
}

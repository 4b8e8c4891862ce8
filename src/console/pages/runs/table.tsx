/** The rows of the list of runs. Only those in view are in the page, so 100,000 are as fast as 50. */
import { useWindowVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useLayoutEffect, useRef, useState } from 'react';
import { Link } from 'wouter';
import { Duration, Status, Time } from '../../components/ui.tsx';
import { shortId } from '../../format.ts';
import { texts } from '../../texts.ts';
import type { ListedRun } from './page.tsx';

const t = texts.runs;
/** Height of a row in pixels, wide and narrow: as in runs.css. */
const ROW_PX = 44;
const NARROW_ROW_PX = 76;
const NARROW = matchMedia('(max-width: 720px)');
/** Rows beyond the view that are kept ready. */
const OVERSCAN = 12;

/** The table. */
export function RunTable({
  runs,
  selected,
  onSelect,
  hasMore,
  onMore,
}: {
  runs: readonly ListedRun[];
  selected: ReadonlySet<string>;
  onSelect: (selected: ReadonlySet<string>) => void;
  hasMore: boolean;
  onMore: () => void;
}) {
  const body = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  useLayoutEffect(() => setTop(body.current?.offsetTop ?? 0), []);
  const rows = useWindowVirtualizer({
    count: runs.length,
    estimateSize: () => (NARROW.matches ? NARROW_ROW_PX : ROW_PX),
    overscan: OVERSCAN,
    scrollMargin: top,
    getItemKey: (index) => runs[index]!.id,
  });
  const shown = rows.getVirtualItems();
  const last = shown.at(-1)?.index ?? 0;
  useEffect(() => {
    if (hasMore && last >= runs.length - OVERSCAN) onMore();
  }, [hasMore, last, runs.length, onMore]);
  const toggle = (ids: readonly string[], on: boolean) => {
    const next = new Set(selected);
    for (const id of ids) {
      if (on) next.add(id);
      else next.delete(id);
    }
    onSelect(next);
  };
  const ids = runs.map(({ id }) => id);
  const { columns } = t;
  return (
    <div role="table" aria-label={t.title} aria-rowcount={hasMore ? -1 : runs.length + 1} className="run-table">
      <div role="rowgroup">
        <div role="row" aria-rowindex={1} className="run-row head">
          <span role="columnheader">
            <input
              type="checkbox"
              aria-label={t.selectAll}
              checked={ids.length > 0 && ids.every((id) => selected.has(id))}
              onChange={({ target }) => toggle(ids, target.checked)}
            />
          </span>
          {[columns.status, columns.workflow, columns.started, columns.duration, columns.mode, columns.error].map((text) => (
            <span key={text} role="columnheader">
              {text}
            </span>
          ))}
        </div>
      </div>
      <div ref={body} role="rowgroup" className="run-rows" style={{ height: rows.getTotalSize() }}>
        {shown.map(({ index, start, key }) => {
          const run = runs[index]!;
          return (
            <div key={key} role="row" aria-rowindex={index + 2} className="run-row" style={{ transform: `translateY(${start - top}px)` }}>
              <span role="cell">
                <input
                  type="checkbox"
                  aria-label={t.select(shortId(run.id))}
                  checked={selected.has(run.id)}
                  onChange={({ target }) => toggle([run.id], target.checked)}
                />
              </span>
              <span role="cell">
                <Status status={run.status} />
              </span>
              <span role="cell" className="main-cell">
                <Link href={`/runs/${run.id}`}>{run.workflow?.name ?? texts.unknown}</Link>
                <code>{shortId(run.id)}</code>
              </span>
              <span role="cell">
                <Time at={run.startedAt} />
              </span>
              <span role="cell">
                <Duration from={run.startedAt} to={run.finishedAt} />
              </span>
              <span role="cell">{run.mode}</span>
              <span role="cell" className="error-cell">
                {errorOf(run.error)}
              </span>
            </div>
          );
        })}
      </div>
    </div>
  );
}

/** Returns code and message of a run's error in one line. */
function errorOf(error: unknown): string {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  return [code, message].filter((each) => typeof each === 'string').join(': ');
}

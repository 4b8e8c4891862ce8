/** The published versions of a workflow: who published what, what differs, and going back. */
import { useState } from 'react';
import { rollbackWorkflow, versionDifferences } from '../../api/generated.ts';
import { useChange, useRead } from '../../api/hooks.ts';
import { Table } from '../../components/table.tsx';
import { Button, Dialog, Empty, ErrorNote, Skeleton, Time } from '../../components/ui.tsx';
import { texts } from '../../texts.ts';
import type { OpenWorkflow } from './page.tsx';

const t = texts.workflow;

/** The versions. */
export function Versions({ workflow: { id, versions, publishedVersion } }: { workflow: OpenWorkflow }) {
  const [compared, setCompared] = useState<number | null>(null);
  const rollback = useChange(rollbackWorkflow);
  const { columns } = t;
  if (versions.nodes.length === 0) return <Empty title={t.noVersions} />;
  return (
    <>
      <ErrorNote error={rollback.error} />
      <Table
        label={t.tabs.versions}
        columns={[columns.version, columns.when, columns.by, columns.message, texts.actions]}
        rows={versions.nodes.map(({ id: key, version, publishedAt, publishedBy, message }) => ({
          key,
          cells: [
            version === publishedVersion ? `${version} (${t.current})` : version,
            <Time key="at" at={publishedAt} />,
            publishedBy?.name ?? texts.none,
            message,
            <div key="do" className="row">
              {version > 1 && <Button onClick={() => setCompared(version)}>{t.compare}</Button>}
              {version !== publishedVersion && (
                <Button busy={rollback.isPending} onClick={() => rollback.mutate({ id, version })}>
                  {t.rollback}
                </Button>
              )}
            </div>,
          ],
        }))}
      />
      {compared !== null && <Differences id={id} version={compared} onClose={() => setCompared(null)} />}
    </>
  );
}

function Differences({ id, version, onClose }: { id: string; version: number; onClose: () => void }) {
  const { data, error, isPending } = useRead(versionDifferences, { id, from: version - 1, to: version });
  const differences = data?.workflowVersionDiff?.nodes ?? [];
  return (
    <Dialog title={`${version - 1} → ${version}`} onClose={onClose} wide>
      <ErrorNote error={error} />
      {isPending && <Skeleton />}
      {data && differences.length === 0 && <p>{t.noDifference}</p>}
      {differences.map(({ pointer, kind, before, after }) => (
        <div key={pointer} className={`difference ${kind}`}>
          <h3>
            {kind} <code>{pointer}</code>
          </h3>
          <div className="side-by-side">
            {before != null && <pre tabIndex={0}>{JSON.stringify(before, null, 2)}</pre>}
            {after != null && <pre tabIndex={0}>{JSON.stringify(after, null, 2)}</pre>}
          </div>
        </div>
      ))}
    </Dialog>
  );
}

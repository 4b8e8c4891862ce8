/** The audit log: who changed what. */
import { auditList } from '../../api/generated.ts';
import { useList } from '../../api/hooks.ts';
import { JsonView } from '../../components/json_view.tsx';
import { Table } from '../../components/table.tsx';
import { Button, Empty, ErrorNote, Skeleton, Time } from '../../components/ui.tsx';
import { shortId } from '../../format.ts';
import { texts } from '../../texts.ts';

const t = texts.organization;
const PAGE_SIZE = 50;

/** The tab. */
export function AuditTab() {
  const list = useList(auditList, { first: PAGE_SIZE }, (data) => data.auditLogs);
  const { auditColumns: columns } = t;
  if (list.isPending) return <Skeleton />;
  if (list.nodes.length === 0) return list.error ? <ErrorNote error={list.error} /> : <Empty title={t.noAudit} />;
  return (
    <>
      <ErrorNote error={list.error} />
      <Table
        label={t.tabs.audit}
        columns={[columns.at, columns.what, columns.table, columns.who, columns.change]}
        rows={list.nodes.map(({ id, at, operation, tableName, before, after, userId, databaseRole, clientAddress }) => ({
          key: id,
          cells: [
            <Time key="at" at={at} />,
            operation,
            tableName,
            `${userId ? shortId(userId) : databaseRole} ${clientAddress ?? ''}`,
            <details key="change">
              <summary>{columns.change}</summary>
              <JsonView value={{ before, after }} />
            </details>,
          ],
        }))}
      />
      {list.hasNextPage && <Button onClick={() => void list.fetchNextPage()}>{texts.loadMore}</Button>}
    </>
  );
}

/** What starts runs from outside: webhooks with their addresses, schedules with their next runs, deliveries. */
import { Link, useLocation } from 'wouter';
import { deliveryList, nextFirings, redeliverWebhook, triggerList, viewer } from '../../api/generated.ts';
import { useChange, useList, useRead } from '../../api/hooks.ts';
import { useAddress } from '../../components/address.ts';
import { Table } from '../../components/table.tsx';
import { Button, CopyButton, Empty, ErrorNote, Skeleton, Tabs, Time } from '../../components/ui.tsx';
import { webhookAddress } from '../../components/webhook_address.ts';
import { duration } from '../../format.ts';
import { texts } from '../../texts.ts';

const t = texts.triggers;
const PAGE_SIZE = 50;
const EVERY_MS = 5_000;

/** The page. */
export function TriggersPage() {
  const [address, change] = useAddress();
  const tab = address.get('tab') ?? 'webhooks';
  const tabs = (['webhooks', 'schedules', 'deliveries'] as const).map((each) => [each, t[each]] as const);
  return (
    <>
      <header className="page-head">
        <h1>{t.title}</h1>
      </header>
      <Tabs label={t.title} tabs={tabs} chosen={tab} onChoose={(each) => change({ tab: each })} />
      <div role="tabpanel" id="tab-panel" aria-labelledby={`tab-${tab}`}>
        {tab === 'deliveries' ? <Deliveries /> : <Triggers kind={tab === 'schedules' ? 'schedules' : 'webhooks'} />}
      </div>
    </>
  );
}

function Triggers({ kind }: { kind: 'webhooks' | 'schedules' }) {
  const { data, error, isPending } = useRead(triggerList, {});
  const key = useRead(viewer, {}).data?.currentOrganization?.webhookKey ?? '';
  const { columns } = t;
  if (isPending) return <Skeleton lines={8} />;
  if (error) return <ErrorNote error={error} />;
  if (kind === 'webhooks') {
    const webhooks = data.webhooks?.nodes ?? [];
    if (webhooks.length === 0) return <Empty title={t.noWebhooks} />;
    return (
      <Table
        label={t.webhooks}
        columns={[columns.workflow, columns.methods, columns.path, columns.checked, texts.actions]}
        rows={webhooks.map(({ id, workflow, node, path, methods, credential }) => {
          const { url, curl } = webhookAddress(key, path, methods);
          return {
            key: id,
            cells: [
              <Link key="workflow" href={`/workflows/${workflow?.id}`}>
                {workflow?.name} · {node}
              </Link>,
              methods.join(', '),
              <code key="url">{url}</code>,
              credential ?? t.unsigned,
              <CopyButton key="curl" quiet={false} label={t.curl} text={curl} />,
            ],
          };
        })}
      />
    );
  }
  const schedules = data.schedules?.nodes ?? [];
  if (schedules.length === 0) return <Empty title={t.noSchedules} />;
  return (
    <Table
      label={t.schedules}
      columns={[columns.workflow, columns.schedule, columns.next, columns.last, columns.result]}
      rows={schedules.map(({ id, workflow, node, properties, nextRunAt, lastRunAt, failures }) => ({
        key: id,
        cells: [
          <Link key="workflow" href={`/workflows/${workflow?.id}`}>
            {workflow?.name} · {node}
          </Link>,
          <Firings key="cron" properties={properties} />,
          <Time key="next" at={nextRunAt} />,
          lastRunAt ? <Time key="last" at={lastRunAt} /> : texts.none,
          failures ? t.failed(failures) : t.fine,
        ],
      }))}
    />
  );
}

/** The cron expression; its next times when it is opened. */
function Firings({ properties }: { properties: unknown }) {
  const { cron, timezone } = (properties ?? {}) as { cron?: unknown; timezone?: unknown };
  const { data } = useRead(nextFirings, typeof cron === 'string' ? { cron, ...(typeof timezone === 'string' ? { timezone } : {}) } : null);
  if (typeof cron !== 'string') return <code>{JSON.stringify(properties)}</code>;
  return (
    <details>
      <summary>
        <code>{cron}</code> {typeof timezone === 'string' && timezone}
      </summary>
      <ul className="plain" aria-label={t.next}>
        {(data?.previewSchedule?.nodes ?? []).map((at) => at && <li key={at}>{<Time at={at} />}</li>)}
      </ul>
    </details>
  );
}

function Deliveries() {
  const list = useList(deliveryList, { first: PAGE_SIZE }, (data) => data.webhookDeliveries, EVERY_MS);
  const [, navigate] = useLocation();
  const again = useChange(redeliverWebhook, { onSuccess: (data) => navigate(`/runs/${data.redeliverWebhook!.workflowRun.id}`) });
  const { columns } = t;
  if (list.isPending) return <Skeleton lines={8} />;
  if (list.nodes.length === 0) return list.error ? <ErrorNote error={list.error} /> : <Empty title={t.noDeliveries} />;
  return (
    <>
      <ErrorNote error={list.error ?? again.error} />
      <Table
        label={t.deliveries}
        columns={[columns.at, columns.workflow, columns.path, columns.status, columns.ms, columns.run, texts.actions]}
        rows={list.nodes.map(({ id, receivedAt, workflow, method, path, status, latencyMs, isDuplicate, error, runId }) => ({
          key: id,
          cells: [
            <Time key="at" at={receivedAt} />,
            workflow?.name,
            <code key="path">{`${method} ${path}`}</code>,
            <span key="status" className={status !== null && status < 400 ? '' : 'problem'}>
              {status ?? texts.none} {error} {isDuplicate && t.duplicate}
            </span>,
            duration(latencyMs),
            runId ? (
              <Link key="run" href={`/runs/${runId}`}>
                {columns.run}
              </Link>
            ) : (
              texts.none
            ),
            runId && (
              <Button key="again" busy={again.isPending} onClick={() => again.mutate({ id })}>
                {t.redeliver}
              </Button>
            ),
          ],
        }))}
      />
      {list.hasNextPage && <Button onClick={() => void list.fetchNextPage()}>{texts.loadMore}</Button>}
    </>
  );
}

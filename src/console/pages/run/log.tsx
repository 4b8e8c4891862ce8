/** The event log of a run as a table that can be searched; choosing an event shows the run as it was then. */
import { useState } from 'react';
import { JsonView } from '../../components/json_view.tsx';
import { TextField, Time } from '../../components/ui.tsx';
import { texts } from '../../texts.ts';
import type { RunEvent } from './fold.ts';

const t = texts.run;
/** Events that are drawn at a time. */
const SHOWN = 200;

/** The log. */
export function EventLog({
  events,
  at,
  onEvent,
  onChoose,
}: {
  events: readonly RunEvent[];
  at: number;
  onEvent: (seq: number) => void;
  onChoose: (node: string) => void;
}) {
  const [text, setText] = useState('');
  const [shown, setShown] = useState(SHOWN);
  const wanted = text.toLowerCase();
  const found = wanted ? events.filter((event) => JSON.stringify(event).toLowerCase().includes(wanted)) : events;
  const { columns } = t;
  return (
    <>
      <TextField label={t.search} type="search" value={text} onChange={({ target }) => setText(target.value)} />
      <div className="scroll" role="region" aria-label={t.tabs.log} tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th scope="col">{columns.seq}</th>
              <th scope="col">{columns.time}</th>
              <th scope="col">{columns.type}</th>
              <th scope="col">{columns.node}</th>
              <th scope="col">{columns.payload}</th>
            </tr>
          </thead>
          <tbody>
            {found.slice(0, shown).map((event) => (
              <EventRow key={event.seq} event={event} isAt={event.seq === at} onEvent={onEvent} onChoose={onChoose} />
            ))}
          </tbody>
        </table>
      </div>
      {found.length > shown && (
        <button type="button" className="button" onClick={() => setShown(shown + SHOWN)}>
          {texts.loadMore}
        </button>
      )}
    </>
  );
}

function EventRow({
  event: { seq, ts, type, payload },
  isAt,
  onEvent,
  onChoose,
}: {
  event: RunEvent;
  isAt: boolean;
  onEvent: (seq: number) => void;
  onChoose: (node: string) => void;
}) {
  const [open, setOpen] = useState(false);
  const { node, ...rest } = payload;
  const summary = JSON.stringify(rest);
  return (
    <tr aria-current={isAt || undefined}>
      <td>
        <button type="button" className="link number" title={texts.run.scrubber} onClick={() => onEvent(seq)}>
          {seq}
        </button>
      </td>
      <td>
        <Time at={ts} />
      </td>
      <td>
        <code>{type}</code>
      </td>
      <td>
        {typeof node === 'string' && (
          <button type="button" className="link" onClick={() => onChoose(node)}>
            {node}
          </button>
        )}
      </td>
      <td className="payload">
        {open ? (
          <JsonView value={rest} />
        ) : (
          <button type="button" className="payload-summary" aria-expanded={false} onClick={() => setOpen(true)}>
            {summary === '{}' ? '' : summary.slice(0, 160)}
          </button>
        )}
      </td>
    </tr>
  );
}

/** Compares a run with another one, step by step. */
import { Link } from 'wouter';
import { useState } from 'react';
import { type RunForComparisonQuery, runForComparison } from '../../api/generated.ts';
import { useRead } from '../../api/hooks.ts';
import { useAddress } from '../../components/address.ts';
import { Button, ErrorNote, Skeleton, Status, TextField } from '../../components/ui.tsx';
import { duration, shortId } from '../../format.ts';
import { texts } from '../../texts.ts';

const t = texts.run;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
type Compared = NonNullable<RunForComparisonQuery['workflowRun']>;

/** The comparison. The other run is in the address, or `proposed`: the one that this one retries. */
export function Comparison({ id, proposed }: { id: string; proposed: string | null }) {
  const [address, change] = useAddress();
  const other = address.get('with') ?? proposed ?? '';
  const [text, setText] = useState(other);
  const here = useRead(runForComparison, { id });
  const there = useRead(runForComparison, UUID.test(other) ? { id: other } : null);
  const [one, two] = [here.data?.workflowRun, there.data?.workflowRun];
  return (
    <>
      <form
        className="row end"
        onSubmit={(event) => {
          event.preventDefault();
          change({ with: text.trim() });
        }}
      >
        <TextField label={t.compareWith} hint={t.compareHint} value={text} onChange={({ target }) => setText(target.value)} />
        <Button type="submit">{t.tabs.compare}</Button>
      </form>
      <ErrorNote error={here.error ?? there.error} />
      {there.isLoading && <Skeleton />}
      {one && two && <StepTable one={one} two={two} />}
    </>
  );
}

function StepTable({ one, two }: { one: Compared; two: Compared }) {
  const steps = [...new Set([...one.steps.nodes, ...two.steps.nodes].map(({ node }) => node))];
  const { compareColumns: columns } = t;
  return (
    <div className="scroll" role="region" aria-label={t.tabs.compare} tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">{columns.step}</th>
            <th scope="col">
              {columns.here} ({shortId(one.id)})
            </th>
            <th scope="col">
              <Link href={`/runs/${two.id}`}>
                {columns.there} ({shortId(two.id)})
              </Link>
            </th>
            <th scope="col">{columns.output}</th>
          </tr>
        </thead>
        <tbody>
          {steps.map((name) => {
            const [here, there] = [one, two].map((run) => run.steps.nodes.find(({ node }) => node === name));
            const same = JSON.stringify(here?.output) === JSON.stringify(there?.output) && here?.status === there?.status;
            return (
              <tr key={name} className={same ? '' : 'differs'}>
                <th scope="row">{name}</th>
                <td>{here ? <StepCell step={here} /> : texts.none}</td>
                <td>{there ? <StepCell step={there} /> : texts.none}</td>
                <td>{same ? t.compareSame : <Outputs one={here?.output} two={there?.output} />}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function StepCell({ step: { status, startedAt, finishedAt } }: { step: Compared['steps']['nodes'][number] }) {
  return (
    <>
      <Status status={status} /> {finishedAt && duration(Date.parse(finishedAt) - Date.parse(startedAt))}
    </>
  );
}

function Outputs({ one, two }: { one: unknown; two: unknown }) {
  return (
    <details>
      <summary>≠</summary>
      <div className="side-by-side">
        <pre tabIndex={0}>{JSON.stringify(one, null, 2)}</pre>
        <pre tabIndex={0}>{JSON.stringify(two, null, 2)}</pre>
      </div>
    </details>
  );
}

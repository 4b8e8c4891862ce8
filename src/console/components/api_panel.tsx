/** Shows the operations behind a page, to copy as documents or as curl commands. */
import { useQueryClient } from '@tanstack/react-query';
import { BASE } from '../api/client.ts';
import { type OperationKey, followed, sentChanges } from '../api/hooks.ts';
import type { Operation } from '../api/operation.ts';
import { texts } from '../texts.ts';
import { CopyButton, Dialog } from './ui.tsx';

/** The panel. */
export function ApiPanel({ onClose }: { onClose: () => void }) {
  const asked = useQueryClient()
    .getQueryCache()
    .findAll({ type: 'active' })
    .map(({ queryKey }) => queryKey as unknown as OperationKey);
  return (
    <Dialog title={texts.shell.api} onClose={onClose} wide>
      <p className="hint">{texts.shell.apiHint}</p>
      <h3>{texts.shell.queries}</h3>
      {asked.map(([operation, variables]) => (
        <OperationView key={operation.id + JSON.stringify(variables)} operation={operation} variables={variables} />
      ))}
      {[...followed.values()].map(({ operation, variables }) => (
        <OperationView key={operation.id} operation={operation} variables={variables} />
      ))}
      <h3>{texts.shell.changes}</h3>
      {sentChanges.length === 0 && <p className="hint">{texts.shell.noChanges}</p>}
      {sentChanges.map(({ operation, variables }, index) => (
        <OperationView key={`${operation.id}-${sentChanges.length - index}`} operation={operation} variables={variables} />
      ))}
      <p>
        <a href={`${BASE}graphiql`} target="_blank" rel="noreferrer">
          {texts.shell.graphiql}
        </a>
      </p>
    </Dialog>
  );
}

function OperationView({ operation, variables }: { operation: Operation<unknown, unknown>; variables: unknown }) {
  return (
    <details className="operation">
      <summary>{operation.name}</summary>
      <div className="row">
        <CopyButton quiet={false} label={texts.shell.copyDocument} text={operation.text} />
        <CopyButton quiet={false} label={texts.shell.copyCurl} text={() => curl(operation, variables)} />
      </div>
      <pre tabIndex={0}>{operation.text}</pre>
      <h4>{texts.shell.variables}</h4>
      <pre tabIndex={0}>{JSON.stringify(variables, null, 2)}</pre>
    </details>
  );
}

/** Returns a command for a shell. It reads the token from a variable: commands are kept in histories. */
function curl(operation: Operation<unknown, unknown>, variables: unknown): string {
  const body = JSON.stringify({ query: operation.text, variables }).replaceAll("'", "'\\''");
  const url = new URL(`${BASE}graphql`, location.href).href;
  return `curl -sS '${url}' -H 'content-type: application/json' -H "authorization: Bearer $FLOWGRES_TOKEN" -d '${body}'`;
}

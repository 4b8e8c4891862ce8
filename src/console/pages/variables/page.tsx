/** Variables of the organization, which expressions read. */
import { Plus } from 'lucide-react';
import { useState } from 'react';
import { type VariableListQuery, deleteVariable, setVariable, variableList } from '../../api/generated.ts';
import { useChange, useRead } from '../../api/hooks.ts';
import { Table } from '../../components/table.tsx';
import { Button, Empty, ErrorNote, FormDialog, Skeleton, TextArea, TextField, Time } from '../../components/ui.tsx';
import { texts } from '../../texts.ts';
import { parsed } from '../run/actions.tsx';

const t = texts.variables;
type Variable = NonNullable<VariableListQuery['variables']>['nodes'][number];

/** The page. */
export function VariablesPage() {
  const { data, error, isPending } = useRead(variableList, {});
  const [edited, setEdited] = useState<Variable | 'new' | null>(null);
  const [removed, setRemoved] = useState<Variable | null>(null);
  const remove = useChange(deleteVariable, { onSuccess: () => setRemoved(null) });
  const variables = data?.variables?.nodes ?? [];
  const { columns } = t;
  return (
    <>
      <header className="page-head">
        <h1>{t.title}</h1>
        <p className="hint">{t.hint}</p>
        <div className="row">
          <Button icon={Plus} kind="primary" onClick={() => setEdited('new')}>
            {t.create}
          </Button>
        </div>
      </header>
      <ErrorNote error={error} />
      {isPending && <Skeleton />}
      {data && variables.length === 0 && <Empty title={t.empty} />}
      {variables.length > 0 && (
        <Table
          label={t.title}
          columns={[columns.name, columns.value, columns.updated, texts.actions]}
          rows={variables.map((variable) => ({
            key: variable.id,
            cells: [
              <code key="name">{variable.name}</code>,
              variable.isSecret ? (
                <span key="value" className="tag">
                  {t.isSecret}
                </span>
              ) : (
                <code key="value">{JSON.stringify(variable.value)?.slice(0, 200)}</code>
              ),
              <span key="at">
                <Time at={variable.updatedAt} /> {variable.updatedBy?.name}
              </span>,
              <div key="do" className="row">
                <Button onClick={() => setEdited(variable)}>{t.edit}</Button>
                <Button kind="danger" onClick={() => setRemoved(variable)}>
                  {t.remove}
                </Button>
              </div>,
            ],
          }))}
        />
      )}
      {edited && <EditDialog variable={edited === 'new' ? null : edited} onClose={() => setEdited(null)} />}
      {removed && (
        <FormDialog
          title={`${t.remove}: ${removed.name}`}
          submit={t.remove}
          danger
          busy={remove.isPending}
          error={remove.error}
          onClose={() => setRemoved(null)}
          onSubmit={() => remove.mutate({ name: removed.name })}
        >
          <p>{t.confirmRemove}</p>
        </FormDialog>
      )}
    </>
  );
}

function EditDialog({ variable, onClose }: { variable: Variable | null; onClose: () => void }) {
  const [name, setName] = useState(variable?.name ?? '');
  const [text, setText] = useState(variable && !variable.isSecret ? JSON.stringify(variable.value, null, 2) : '');
  const [secret, setSecret] = useState(variable?.isSecret ?? false);
  const [hosts, setHosts] = useState(variable?.allowedHosts.join(', ') ?? '');
  const value = parsed(text);
  const set = useChange(setVariable, { onSuccess: onClose });
  const submit = () =>
    value &&
    set.mutate({
      name,
      value: value.value,
      ...(secret
        ? {
            secret,
            hosts: hosts
              .split(',')
              .map((each) => each.trim())
              .filter(Boolean),
          }
        : {}),
    });
  return (
    <FormDialog
      title={variable ? `${t.edit}: ${variable.name}` : t.create}
      submit={variable ? t.edit : t.create}
      busy={set.isPending}
      error={set.error}
      disabled={!value}
      onClose={onClose}
      onSubmit={submit}
    >
      {!variable && <TextField label={t.name} required value={name} onChange={({ target }) => setName(target.value)} />}
      <TextArea
        label={t.value}
        hint={t.valueHint}
        problem={text && !value ? texts.run.forkWrong : undefined}
        rows={5}
        required
        value={text}
        onChange={({ target }) => setText(target.value)}
      />
      {!variable && (
        <label className="row">
          <input type="checkbox" checked={secret} onChange={({ target }) => setSecret(target.checked)} />
          {t.secret}
        </label>
      )}
      {secret && <TextField label={t.hosts} value={hosts} onChange={({ target }) => setHosts(target.value)} />}
    </FormDialog>
  );
}

/** Credentials: made and replaced by forms of their types; their secrets are never read. */
import { Plus } from 'lucide-react';
import { useState } from 'react';
import {
  type CredentialListQuery,
  createCredential,
  credentialList,
  deleteCredential,
  replaceSecret,
  shareCredential,
} from '../../api/generated.ts';
import { useChange, useRead } from '../../api/hooks.ts';
import { Table } from '../../components/table.tsx';
import { Button, Choice, Empty, ErrorNote, FormDialog, Skeleton, TextField, Time } from '../../components/ui.tsx';
import { texts } from '../../texts.ts';

const t = texts.credentials;
type Credential = NonNullable<CredentialListQuery['credentials']>['nodes'][number];
type CredentialType = NonNullable<CredentialListQuery['credentialTypes']>['nodes'][number];
type Asked = { kind: 'create' } | { kind: 'replace' | 'delete'; credential: Credential } | null;

/** The page. */
export function CredentialsPage() {
  const { data, error, isPending } = useRead(credentialList, {});
  const [asked, setAsked] = useState<Asked>(null);
  const close = () => setAsked(null);
  const share = useChange(shareCredential);
  const types = data?.credentialTypes?.nodes ?? [];
  const credentials = data?.credentials?.nodes ?? [];
  const { columns } = t;
  return (
    <>
      <header className="page-head">
        <h1>{t.title}</h1>
        <p className="hint">{t.hint}</p>
        <div className="row">
          <Button icon={Plus} kind="primary" onClick={() => setAsked({ kind: 'create' })}>
            {t.create}
          </Button>
        </div>
      </header>
      <ErrorNote error={error ?? share.error} />
      {isPending && <Skeleton />}
      {data && credentials.length === 0 && <Empty title={t.empty} />}
      {credentials.length > 0 && (
        <Table
          label={t.title}
          columns={[columns.name, columns.type, columns.hosts, columns.shared, columns.used, texts.actions]}
          rows={credentials.map((credential) => {
            const { id, name, type, allowedHosts, isShared, team, lastUsedAt } = credential;
            return {
              key: id,
              cells: [
                name,
                type,
                allowedHosts.join(', ') || t.anyHost,
                isShared ? t.everybody : (team?.name ?? t.own),
                lastUsedAt ? <Time key="used" at={lastUsedAt} /> : t.never,
                <div key="do" className="row">
                  <Button onClick={() => setAsked({ kind: 'replace', credential })}>{t.replace}</Button>
                  <Button busy={share.isPending} onClick={() => share.mutate({ id, shared: !isShared })}>
                    {isShared ? t.unshare : t.share}
                  </Button>
                  <Button kind="danger" onClick={() => setAsked({ kind: 'delete', credential })}>
                    {t.remove}
                  </Button>
                </div>,
              ],
            };
          })}
        />
      )}
      {asked?.kind === 'create' && types.length > 0 && <CreateDialog types={types} onClose={close} />}
      {asked?.kind === 'replace' && (
        <ReplaceDialog credential={asked.credential} type={types.find(({ name }) => name === asked.credential.type)} onClose={close} />
      )}
      {asked?.kind === 'delete' && <DeleteDialog credential={asked.credential} onClose={close} />}
    </>
  );
}

/** The fields of a credential's type, from its JSON Schema: texts and choices. */
function SecretFields({
  type,
  values,
  onChange,
}: {
  type: CredentialType | undefined;
  values: Record<string, string>;
  onChange: (values: Record<string, string>) => void;
}) {
  const schema = (type?.schema ?? {}) as { properties?: Record<string, SchemaField>; required?: string[] };
  return Object.entries(schema.properties ?? {}).map(([name, field]) =>
    field.enum ? (
      <Choice
        key={name}
        label={name}
        value={values[name] ?? String(field.default ?? field.enum[0])}
        options={field.enum.map((each) => [String(each), String(each)] as const)}
        onChange={({ target }) => onChange({ ...values, [name]: target.value })}
      />
    ) : (
      <TextField
        key={name}
        label={name}
        hint={field.description}
        type={field.writeOnly ? 'password' : 'text'}
        autoComplete="off"
        required={schema.required?.includes(name)}
        value={values[name] ?? ''}
        onChange={({ target }) => onChange({ ...values, [name]: target.value })}
      />
    ),
  );
}

interface SchemaField {
  type?: string;
  enum?: unknown[];
  default?: unknown;
  writeOnly?: boolean;
  description?: string;
}

/** Returns the values that were entered, as the types of the schema. */
function dataOf(type: CredentialType | undefined, values: Record<string, string>): Record<string, unknown> {
  const { properties = {} } = (type?.schema ?? {}) as { properties?: Record<string, SchemaField> };
  const entered = Object.entries(values).filter(([name, value]) => name in properties && value !== '');
  return Object.fromEntries(
    entered.map(([name, value]) => {
      const kind = properties[name]?.type;
      if (kind === 'integer' || kind === 'number') return [name, Number(value)];
      return [name, kind === 'array' ? value.split(',').map((each) => each.trim()) : value];
    }),
  );
}

/** Returns the names in a text, separated by commas. */
const listOf = (text: string) =>
  text
    .split(',')
    .map((each) => each.trim())
    .filter(Boolean);

function CreateDialog({ types, onClose }: { types: readonly CredentialType[]; onClose: () => void }) {
  const [typeName, setTypeName] = useState(types[0]!.name);
  const [name, setName] = useState('');
  const [hosts, setHosts] = useState('');
  const [shared, setShared] = useState(true);
  const [values, setValues] = useState<Record<string, string>>({});
  const create = useChange(createCredential, { onSuccess: onClose });
  const type = types.find((each) => each.name === typeName);
  return (
    <FormDialog
      title={t.create}
      submit={t.create}
      busy={create.isPending}
      error={create.error}
      onClose={onClose}
      onSubmit={() => create.mutate({ name, type: typeName, data: dataOf(type, values), hosts: listOf(hosts), shared })}
    >
      <Choice
        label={t.type}
        value={typeName}
        options={types.map((each) => [each.name, each.name] as const)}
        onChange={({ target }) => setTypeName(target.value)}
      />
      <p className="hint">{type?.description}</p>
      <TextField label={t.name} required value={name} onChange={({ target }) => setName(target.value)} />
      <SecretFields type={type} values={values} onChange={setValues} />
      <TextField label={t.hosts} hint={t.hostsHint} value={hosts} onChange={({ target }) => setHosts(target.value)} />
      <label className="row">
        <input type="checkbox" checked={shared} onChange={({ target }) => setShared(target.checked)} />
        {t.shared}
      </label>
    </FormDialog>
  );
}

function ReplaceDialog({ credential, type, onClose }: { credential: Credential; type: CredentialType | undefined; onClose: () => void }) {
  const [values, setValues] = useState<Record<string, string>>({});
  const replace = useChange(replaceSecret, { onSuccess: onClose });
  return (
    <FormDialog
      title={`${t.replace}: ${credential.name}`}
      submit={t.replace}
      busy={replace.isPending}
      error={replace.error}
      onClose={onClose}
      onSubmit={() => replace.mutate({ id: credential.id, data: dataOf(type, values) })}
    >
      <SecretFields type={type} values={values} onChange={setValues} />
    </FormDialog>
  );
}

function DeleteDialog({ credential, onClose }: { credential: Credential; onClose: () => void }) {
  const [force, setForce] = useState(false);
  const remove = useChange(deleteCredential, { onSuccess: onClose });
  return (
    <FormDialog
      title={`${t.remove}: ${credential.name}`}
      submit={t.remove}
      danger
      busy={remove.isPending}
      error={remove.error}
      onClose={onClose}
      onSubmit={() => remove.mutate({ id: credential.id, force })}
    >
      <p>{t.confirmRemove}</p>
      <label className="row">
        <input type="checkbox" checked={force} onChange={({ target }) => setForce(target.checked)} />
        {t.force}
      </label>
    </FormDialog>
  );
}

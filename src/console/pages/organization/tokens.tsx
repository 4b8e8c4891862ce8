/** Tokens of the API. A new one is shown once. */
import { Plus } from 'lucide-react';
import { useState } from 'react';
import { type Scope, createApiToken, revokeApiToken, tokenList } from '../../api/generated.ts';
import { useChange, useRead } from '../../api/hooks.ts';
import { Table } from '../../components/table.tsx';
import { Button, CopyButton, Dialog, Empty, ErrorNote, FormDialog, Skeleton, TextField, Time } from '../../components/ui.tsx';
import { texts } from '../../texts.ts';

const t = texts.organization;
const SCOPES: readonly Scope[] = [
  'runs_read',
  'runs_write',
  'workflows_read',
  'workflows_write',
  'organization_read',
  'organization_write',
];

/** The tab. */
export function TokensTab() {
  const { data, error, isPending } = useRead(tokenList, {});
  const [creating, setCreating] = useState(false);
  const revoke = useChange(revokeApiToken);
  if (isPending) return <Skeleton />;
  const tokens = data?.apiTokens?.nodes ?? [];
  const { columns } = t;
  return (
    <>
      <div className="row">
        <Button icon={Plus} kind="primary" onClick={() => setCreating(true)}>
          {t.newToken}
        </Button>
      </div>
      <ErrorNote error={error ?? revoke.error} />
      {data && tokens.length === 0 && <Empty title={t.noTokens} />}
      {tokens.length > 0 && (
        <Table
          label={t.tabs.tokens}
          columns={[columns.name, t.secret, columns.scopes, columns.used, columns.expires, texts.actions]}
          rows={tokens.map(({ id, name, prefix, scopes, lastUsedAt, expiresAt, revokedAt }) => ({
            key: id,
            cells: [
              name,
              <code key="prefix">{prefix}…</code>,
              scopes.map((scope) => scope.replace('_', ':')).join(', '),
              lastUsedAt ? <Time key="used" at={lastUsedAt} /> : t.never,
              expiresAt ? <Time key="expires" at={expiresAt} /> : t.never,
              revokedAt ? (
                t.revoked
              ) : (
                <Button key="do" kind="danger" busy={revoke.isPending} onClick={() => revoke.mutate({ id })}>
                  {t.revoke}
                </Button>
              ),
            ],
          }))}
        />
      )}
      {creating && <TokenDialog onClose={() => setCreating(false)} />}
    </>
  );
}

function TokenDialog({ onClose }: { onClose: () => void }) {
  const [name, setName] = useState('');
  const [scopes, setScopes] = useState<readonly Scope[]>(['runs_read']);
  const [expires, setExpires] = useState('');
  const create = useChange(createApiToken);
  const secret = create.data?.createApiToken?.newApiToken.secret;
  if (secret) {
    return (
      <Dialog title={t.secret} onClose={onClose}>
        <p>{t.secretHint}</p>
        <p className="row">
          <code className="secret">{secret}</code>
          <CopyButton text={secret} />
        </p>
      </Dialog>
    );
  }
  return (
    <FormDialog
      title={t.newToken}
      submit={t.newToken}
      busy={create.isPending}
      error={create.error}
      disabled={scopes.length === 0}
      onClose={onClose}
      onSubmit={() => create.mutate({ name, scopes: [...scopes], expiresAt: expires ? new Date(expires).toISOString() : null })}
    >
      <TextField label={t.tokenName} required value={name} onChange={({ target }) => setName(target.value)} />
      <fieldset>
        <legend>{t.scopes}</legend>
        {SCOPES.map((scope) => (
          <label key={scope} className="row">
            <input
              type="checkbox"
              checked={scopes.includes(scope)}
              onChange={({ target }) => setScopes(target.checked ? [...scopes, scope] : scopes.filter((each) => each !== scope))}
            />
            {scope.replace('_', ':')}
          </label>
        ))}
      </fieldset>
      <TextField label={t.expires} type="date" value={expires} onChange={({ target }) => setExpires(target.value)} />
    </FormDialog>
  );
}

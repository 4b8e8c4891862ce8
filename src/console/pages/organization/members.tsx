/** Members with their roles, and invitations. */
import { UserPlus } from 'lucide-react';
import { useState } from 'react';
import { type OrganizationRole, inviteMember, memberList, removeMember, revokeInvitation, setMemberRole } from '../../api/generated.ts';
import { useChange, useRead } from '../../api/hooks.ts';
import { Table } from '../../components/table.tsx';
import { Button, Choice, CopyButton, Dialog, ErrorNote, FormDialog, Skeleton, TextField, Time } from '../../components/ui.tsx';
import { texts } from '../../texts.ts';

const t = texts.organization;
const ROLES = Object.entries(t.roles) as [OrganizationRole, string][];

/** The tab. */
export function MembersTab() {
  const { data, error, isPending } = useRead(memberList, {});
  const [inviting, setInviting] = useState(false);
  const [removed, setRemoved] = useState<{ id: string; name: string } | null>(null);
  const setRole = useChange(setMemberRole);
  const remove = useChange(removeMember, { onSuccess: () => setRemoved(null) });
  const revoke = useChange(revokeInvitation);
  if (isPending) return <Skeleton />;
  const members = data?.currentOrganization?.members.nodes ?? [];
  const open = (data?.currentOrganization?.invitations.nodes ?? []).filter(({ acceptedAt, revokedAt }) => !acceptedAt && !revokedAt);
  const { columns } = t;
  return (
    <>
      <div className="row">
        <Button icon={UserPlus} kind="primary" onClick={() => setInviting(true)}>
          {t.invite}
        </Button>
      </div>
      <ErrorNote error={error ?? setRole.error ?? revoke.error} />
      <Table
        label={t.tabs.members}
        columns={[columns.name, columns.email, columns.role, columns.since, texts.actions]}
        rows={members.map(({ id, userId, role, createdAt, user }) => ({
          key: id,
          cells: [
            user?.name,
            user?.email,
            <select
              key="role"
              aria-label={`${t.role}: ${user?.name}`}
              value={role}
              onChange={({ target }) => setRole.mutate({ user: userId, role: target.value as OrganizationRole })}
            >
              {ROLES.map(([value, text]) => (
                <option key={value} value={value}>
                  {text}
                </option>
              ))}
            </select>,
            <Time key="at" at={createdAt} />,
            <Button key="do" kind="danger" onClick={() => setRemoved({ id: userId, name: user?.name ?? '' })}>
              {t.remove}
            </Button>,
          ],
        }))}
      />
      {open.length > 0 && <h2>{t.invitations}</h2>}
      {open.length > 0 && (
        <Table
          label={t.invitations}
          columns={[columns.email, columns.role, columns.until, texts.actions]}
          rows={open.map(({ id, email, role, expiresAt }) => ({
            key: id,
            cells: [
              email,
              role,
              <Time key="at" at={expiresAt} />,
              <Button key="do" busy={revoke.isPending} onClick={() => revoke.mutate({ id })}>
                {t.revoke}
              </Button>,
            ],
          }))}
        />
      )}
      {inviting && <InviteDialog onClose={() => setInviting(false)} />}
      {removed && (
        <FormDialog
          title={t.remove}
          submit={t.remove}
          danger
          busy={remove.isPending}
          error={remove.error}
          onClose={() => setRemoved(null)}
          onSubmit={() => remove.mutate({ user: removed.id })}
        >
          <p>{t.confirmRemove(removed.name)}</p>
        </FormDialog>
      )}
    </>
  );
}

function InviteDialog({ onClose }: { onClose: () => void }) {
  const [email, setEmail] = useState('');
  const [role, setRole] = useState<OrganizationRole>('member');
  const invite = useChange(inviteMember);
  const code = invite.data?.inviteMember?.newInvitation.code;
  if (code) {
    return (
      <Dialog title={t.code} onClose={onClose}>
        <p>{t.codeHint}</p>
        <p className="row">
          <code className="secret">{code}</code>
          <CopyButton text={code} />
        </p>
      </Dialog>
    );
  }
  return (
    <FormDialog
      title={t.invite}
      submit={t.invite}
      busy={invite.isPending}
      error={invite.error}
      onClose={onClose}
      onSubmit={() => invite.mutate({ email, role })}
    >
      <TextField label={t.email} type="email" required value={email} onChange={({ target }) => setEmail(target.value)} />
      <Choice label={t.role} value={role} options={ROLES} onChange={({ target }) => setRole(target.value as OrganizationRole)} />
    </FormDialog>
  );
}

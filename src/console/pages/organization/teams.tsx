/** Teams and who is in them. */
import { Plus } from 'lucide-react';
import { useState } from 'react';
import { addTeamMember, createTeam, memberList, removeTeamMember, teamList } from '../../api/generated.ts';
import { useChange, useRead } from '../../api/hooks.ts';
import { Button, Empty, ErrorNote, FormDialog, Skeleton, TextField } from '../../components/ui.tsx';
import { texts } from '../../texts.ts';

const t = texts.organization;

/** The tab. */
export function TeamsTab() {
  const { data, error, isPending } = useRead(teamList, {});
  const members = useRead(memberList, {}).data?.currentOrganization?.members.nodes ?? [];
  const [creating, setCreating] = useState(false);
  const add = useChange(addTeamMember);
  const remove = useChange(removeTeamMember);
  if (isPending) return <Skeleton />;
  const teams = data?.teams?.nodes ?? [];
  return (
    <>
      <div className="row">
        <Button icon={Plus} kind="primary" onClick={() => setCreating(true)}>
          {t.newTeam}
        </Button>
      </div>
      <ErrorNote error={error ?? add.error ?? remove.error} />
      {teams.length === 0 && <Empty title={t.noTeams} />}
      {teams.map(({ id, name, description, color, members: { nodes } }) => (
        <section key={id} className="card">
          <h2 className="team-head" style={{ borderColor: color }}>
            {name}
          </h2>
          <p className="hint">{description}</p>
          <ul className="plain">
            {nodes.map(({ id: key, userId, role, membership }) => (
              <li key={key} className="row">
                {membership?.user?.name ?? userId} · {role}
                <Button kind="quiet" onClick={() => remove.mutate({ team: id, user: userId })}>
                  {t.remove}
                </Button>
              </li>
            ))}
          </ul>
          <select aria-label={`${t.addMember}: ${name}`} value="" onChange={({ target }) => add.mutate({ team: id, user: target.value })}>
            <option value="">{t.addMember}</option>
            {members
              .filter(({ userId }) => !nodes.some((each) => each.userId === userId))
              .map(({ userId, user }) => (
                <option key={userId} value={userId}>
                  {user?.name}
                </option>
              ))}
          </select>
        </section>
      ))}
      {creating && <TeamDialog onClose={() => setCreating(false)} />}
    </>
  );
}

function TeamDialog({ onClose }: { onClose: () => void }) {
  const [name, setName] = useState('');
  const [description, setDescription] = useState('');
  const create = useChange(createTeam, { onSuccess: onClose });
  const slug = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '');
  return (
    <FormDialog
      title={t.newTeam}
      submit={t.newTeam}
      busy={create.isPending}
      error={create.error}
      onClose={onClose}
      onSubmit={() => create.mutate({ name, slug, description: description || null })}
    >
      <TextField label={t.teamName} required value={name} onChange={({ target }) => setName(target.value)} />
      <TextField label={t.description} value={description} onChange={({ target }) => setDescription(target.value)} />
    </FormDialog>
  );
}

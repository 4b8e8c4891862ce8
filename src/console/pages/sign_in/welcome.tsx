/** The first page of somebody in no organization: making one, or accepting an invitation. */
import { useState } from 'react';
import { acceptInvitation, createOrganization, switchOrganization } from '../../api/generated.ts';
import { useChange } from '../../api/hooks.ts';
import { setToken } from '../../api/session.ts';
import { Button, ErrorNote, TextField } from '../../components/ui.tsx';
import { texts } from '../../texts.ts';

const t = texts.welcome;

/** The page. */
export function WelcomePage({ user }: { user: { name: string } }) {
  const [name, setName] = useState('');
  const [slug, setSlug] = useState<string | null>(null);
  const [code, setCode] = useState('');
  const enter = useChange(switchOrganization);
  const create = useChange(createOrganization, {
    onSuccess: (data) => enter.mutate({ organization: data.createOrganization!.organization.id }),
  });
  const accept = useChange(acceptInvitation, {
    onSuccess: (data) => enter.mutate({ organization: data.acceptInvitation!.organizationUser.organizationId }),
  });
  const proposed =
    slug ??
    name
      .toLowerCase()
      .replaceAll(/[^a-z0-9]+/g, '-')
      .replaceAll(/^-|-$/g, '');
  return (
    <main className="sign-in">
      <div className="card">
        <h1>{t.title(user.name)}</h1>
        <p>{t.text}</p>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            create.mutate({ name, slug: proposed });
          }}
        >
          <h2>{t.create}</h2>
          <TextField label={t.name} value={name} required onChange={({ target }) => setName(target.value)} />
          <TextField label={t.slug} hint={t.slugHint} value={proposed} required onChange={({ target }) => setSlug(target.value)} />
          <ErrorNote error={create.error ?? enter.error} />
          <Button kind="primary" type="submit" busy={create.isPending || enter.isPending}>
            {t.create}
          </Button>
        </form>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            accept.mutate({ code: code.trim() });
          }}
        >
          <h2>{t.join}</h2>
          <TextField label={t.code} value={code} required onChange={({ target }) => setCode(target.value)} />
          <ErrorNote error={accept.error} />
          <Button type="submit" busy={accept.isPending}>
            {t.joinSubmit}
          </Button>
        </form>
        <Button kind="quiet" onClick={() => setToken(null)}>
          {texts.shell.signOut}
        </Button>
      </div>
    </main>
  );
}

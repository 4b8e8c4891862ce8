/** What surrounds every page: navigation, organization, account, connection, and the GraphQL behind the page. */
import { Braces, ChevronsUpDown, KeyRound, LogOut, Rows3, ShieldCheck, Users, Variable, WifiOff, Workflow, Zap } from 'lucide-react';
import { type ReactNode, useState } from 'react';
import { Link, useLocation } from 'wouter';
import { useOnline } from '../api/connection.ts';
import { type ViewerQuery, logout, switchOrganization } from '../api/generated.ts';
import { useChange } from '../api/hooks.ts';
import { setToken } from '../api/session.ts';
import { texts } from '../texts.ts';
import { LIVE_REGION } from './announce.ts';
import { ApiPanel } from './api_panel.tsx';
import { type Theme, chooseTheme, chosenTheme } from './theme.ts';
import { Button, Choice, Dialog, ErrorNote, IconButton } from './ui.tsx';

const PAGES = [
  ['/runs', texts.nav.runs, Rows3],
  ['/workflows', texts.nav.workflows, Workflow],
  ['/triggers', texts.nav.triggers, Zap],
  ['/credentials', texts.nav.credentials, KeyRound],
  ['/variables', texts.nav.variables, Variable],
  ['/organization', texts.nav.organization, Users],
] as const;

/** The frame of a page. */
export function Shell({ viewer, children }: { viewer: ViewerQuery; children: ReactNode }) {
  const [path] = useLocation();
  const [panel, setPanel] = useState<'api' | 'account' | null>(null);
  return (
    <div className="shell">
      <a className="skip" href="#content">
        {texts.skip}
      </a>
      <nav aria-label={texts.nav.label}>
        <Link href="/runs" className="brand">
          <BrandMark />
          <span>{texts.product}</span>
        </Link>
        <ul>
          {PAGES.map(([href, text, Icon]) => (
            <li key={href}>
              <Link href={href} aria-current={path.startsWith(href) ? 'page' : undefined}>
                <Icon aria-hidden />
                <span>{text}</span>
              </Link>
            </li>
          ))}
        </ul>
        <div className="nav-foot">
          <Button kind="quiet" icon={ChevronsUpDown} onClick={() => setPanel('account')}>
            {viewer.currentOrganization?.name ?? texts.unknown}
          </Button>
          <IconButton icon={Braces} label={texts.shell.api} onClick={() => setPanel('api')} />
        </div>
      </nav>
      <main id="content" tabIndex={-1}>
        <OfflineBanner />
        {children}
      </main>
      <div id={LIVE_REGION} className="hidden" role="status" aria-live="polite" />
      {panel === 'api' && <ApiPanel onClose={() => setPanel(null)} />}
      {panel === 'account' && <AccountDialog viewer={viewer} onClose={() => setPanel(null)} />}
    </div>
  );
}

/** The mark of the product. */
export function BrandMark() {
  return (
    <svg className="mark" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M8 10h6a4 4 0 0 1 4 4v4a4 4 0 0 0 4 4h2" />
      <circle cx="8" cy="10" r="3" />
      <circle cx="24" cy="22" r="3" />
    </svg>
  );
}

function OfflineBanner() {
  if (useOnline()) return null;
  return (
    <div className="banner" role="alert">
      <WifiOff aria-hidden />
      {texts.offline}
    </div>
  );
}

function AccountDialog({ viewer, onClose }: { viewer: ViewerQuery; onClose: () => void }) {
  const [theme, setTheme] = useState<Theme>(chosenTheme);
  const change = useChange(switchOrganization, { onSuccess: onClose });
  const leave = useChange(logout);
  const memberships = viewer.currentUser?.memberships.nodes ?? [];
  const signOut = async () => {
    // A token of an API cannot log out: it stays valid for others, and this tab forgets it.
    await leave.mutateAsync({}).catch(() => undefined);
    setToken(null);
  };
  return (
    <Dialog title={texts.shell.account} onClose={onClose}>
      <p>
        <strong>{viewer.currentUser?.name ?? texts.shell.token}</strong>
        <br />
        {viewer.currentUser?.email}
      </p>
      <fieldset>
        <legend>{texts.shell.switchTo}</legend>
        <ul className="choices">
          {memberships.map(({ id, role, organization }) => (
            <li key={id}>
              <Button
                icon={organization?.id === viewer.currentOrganization?.id ? ShieldCheck : undefined}
                aria-pressed={organization?.id === viewer.currentOrganization?.id}
                onClick={() => organization && change.mutate({ organization: organization.id })}
              >
                {organization?.name} · {role}
              </Button>
            </li>
          ))}
        </ul>
        <ErrorNote error={change.error} />
      </fieldset>
      <Choice
        label={texts.shell.theme}
        value={theme}
        options={Object.entries(texts.shell.themes)}
        onChange={({ target }) => {
          setTheme(target.value as Theme);
          chooseTheme(target.value as Theme);
        }}
      />
      <footer>
        <Button icon={LogOut} onClick={() => void signOut()} busy={leave.isPending}>
          {texts.shell.signOut}
        </Button>
      </footer>
    </Dialog>
  );
}

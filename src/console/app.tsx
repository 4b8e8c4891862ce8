/** The pages by their addresses. Each is a script of its own, loaded when it is first opened. */
import { Suspense, lazy } from 'react';
import { Link, Redirect, Route, Switch } from 'wouter';
import { viewer } from './api/generated.ts';
import { useRead } from './api/hooks.ts';
import { useToken } from './api/session.ts';
import { Shell } from './components/shell.tsx';
import { Empty, ErrorNote, Skeleton } from './components/ui.tsx';
import { SignInPage } from './pages/sign_in/page.tsx';
import { WelcomePage } from './pages/sign_in/welcome.tsx';
import { texts } from './texts.ts';

const RunsPage = lazy(async () => ({ default: (await import('./pages/runs/page.tsx')).RunsPage }));
const WorkflowsPage = lazy(async () => ({ default: (await import('./pages/workflows/page.tsx')).WorkflowsPage }));
const WorkflowPage = lazy(async () => ({ default: (await import('./pages/workflow/page.tsx')).WorkflowPage }));
const TriggersPage = lazy(async () => ({ default: (await import('./pages/triggers/page.tsx')).TriggersPage }));
const CredentialsPage = lazy(async () => ({ default: (await import('./pages/credentials/page.tsx')).CredentialsPage }));
const VariablesPage = lazy(async () => ({ default: (await import('./pages/variables/page.tsx')).VariablesPage }));
const OrganizationPage = lazy(async () => ({ default: (await import('./pages/organization/page.tsx')).OrganizationPage }));
const RunPage = lazy(async () => ({ default: (await import('./pages/run/page.tsx')).RunPage }));

/** The console: signing in, then the pages of one organization. */
export function App() {
  const token = useToken();
  return token === null ? <SignInPage /> : <SignedIn key={token} />;
}

function SignedIn() {
  const { data, error, isPending } = useRead(viewer, {});
  if (isPending) return <Skeleton />;
  if (error && !data) return <ErrorNote error={error} />;
  if (data?.currentUser && !data.currentOrganization) return <WelcomePage user={data.currentUser} />;
  return (
    <Shell viewer={data}>
      <Suspense fallback={<Skeleton lines={12} />}>
        <Switch>
          <Route path="/">
            <Redirect to="/runs" replace />
          </Route>
          <Route path="/runs" component={RunsPage} />
          <Route path="/runs/:id">{({ id }) => <RunPage key={id} id={id} />}</Route>
          <Route path="/workflows" component={WorkflowsPage} />
          <Route path="/workflows/:id">{({ id }) => <WorkflowPage key={id} id={id} />}</Route>
          <Route path="/triggers" component={TriggersPage} />
          <Route path="/credentials" component={CredentialsPage} />
          <Route path="/variables" component={VariablesPage} />
          <Route path="/organization" component={OrganizationPage} />
          <Route>
            <Empty isPage title={texts.notFound}>
              <p>{texts.notFoundHint}</p>
              <Link href="/runs">{texts.startPage}</Link>
            </Empty>
          </Route>
        </Switch>
      </Suspense>
    </Shell>
  );
}

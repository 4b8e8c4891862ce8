/** The organization: members and invitations, teams, tokens, plan and usage, the audit log. */
import { useAddress } from '../../components/address.ts';
import { Tabs } from '../../components/ui.tsx';
import { texts } from '../../texts.ts';
import { AuditTab } from './audit.tsx';
import { MembersTab } from './members.tsx';
import { PlanTab } from './plan.tsx';
import { TeamsTab } from './teams.tsx';
import { TokensTab } from './tokens.tsx';
import './organization.css';

const t = texts.organization;
const TABS = { members: MembersTab, teams: TeamsTab, tokens: TokensTab, plan: PlanTab, audit: AuditTab };

/** The page. */
export function OrganizationPage() {
  const [address, change] = useAddress();
  const asked = address.get('tab') ?? '';
  const tab = Object.hasOwn(TABS, asked) ? (asked as keyof typeof TABS) : 'members';
  const Tab = TABS[tab];
  return (
    <>
      <header className="page-head">
        <h1>{t.title}</h1>
      </header>
      <Tabs label={t.title} tabs={Object.entries(t.tabs)} chosen={tab} onChoose={(each) => change({ tab: each })} />
      <div role="tabpanel" id="tab-panel" aria-labelledby={`tab-${tab}`}>
        <Tab />
      </div>
    </>
  );
}

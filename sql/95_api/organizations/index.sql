-- Organizations, members, invitations, teams, purge.

--!include 95_api/organizations/organizations.sql
--!include 95_api/organizations/webhook_keys.sql
--!include 95_api/organizations/members.sql
--!include 95_api/organizations/invitations.sql
--!include 95_api/organizations/teams.sql
--!include 95_api/organizations/purge.sql

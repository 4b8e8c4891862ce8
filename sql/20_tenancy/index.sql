-- Tenancy: who there is, which organization a request acts for, and what it may see.

--!include 20_tenancy/secrets.sql
--!include 20_tenancy/tables.sql
--!include 20_tenancy/context.sql
--!include 20_tenancy/organizations.sql
--!include 20_tenancy/tokens.sql
--!include 20_tenancy/policies.sql
--!include 20_tenancy/rate_buckets.sql
--!include 20_tenancy/rate_limit.sql

-- The whole schema, layer by layer: each layer uses only the layers above it in this list.
-- Every object belongs to flowgres_owner; the roles themselves are made before (see roles.sql).

set local role flowgres_owner;

--!include 00_foundation/index.sql
--!include 10_partitions/index.sql
--!include 15_audit/index.sql
--!include 20_tenancy/index.sql
--!include 25_plans/index.sql
--!include 30_workflows/index.sql
--!include 35_credentials/index.sql
--!include 40_runs/index.sql
--!include 50_engine/index.sql
--!include 60_triggers/index.sql
--!include 70_cron/index.sql
--!include 90_monitor/index.sql
--!include 95_api/index.sql

reset role;

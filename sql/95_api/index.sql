-- The API: commands that join layers, and what GraphQL shows of runs beside their columns.

--!include 95_api/access.sql
--!include 95_api/workflows.sql
--!include 95_api/publish.sql
--!include 95_api/runs.sql
--!include 95_api/waits.sql
--!include 95_api/run_columns.sql
--!include 95_api/run_steps.sql
--!include 95_api/scopes.sql

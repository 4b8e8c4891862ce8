-- Workflows: drafts, publication, versions, templates, tests, search, variables.

--!include 95_api/workflows/workflows.sql
--!include 95_api/workflows/publish.sql
--!include 95_api/workflows/versions.sql
--!include 95_api/workflows/search.sql
--!include 95_api/workflows/templates.sql
--!include 95_api/workflows/variables.sql
--!include 95_api/workflows/test_workflow.sql
--!include 95_api/workflows/node_types.sql

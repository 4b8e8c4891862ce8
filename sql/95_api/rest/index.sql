-- What the REST interface reads: runs, events, logs and workflows as JSON documents.

--!include 95_api/rest/runs.sql
--!include 95_api/rest/workflows.sql

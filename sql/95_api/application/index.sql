-- What the roles of an application in the same database call, and the tables of theirs that start runs.

--!include 95_api/application/tables.sql
--!include 95_api/application/grants.sql
--!include 95_api/application/start.sql
--!include 95_api/application/read.sql
--!include 95_api/application/watch_table.sql
--!include 95_api/application/watched_changes.sql
--!include 95_api/application/policies.sql

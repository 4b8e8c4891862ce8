-- Notices: expressions that always give null or are never true.

--!include 30_workflows/notices/values.sql
--!include 30_workflows/notices/operators.sql
--!include 30_workflows/notices/tokens.sql
--!include 30_workflows/notices/notices.sql
--!include 30_workflows/notices/shapes.sql

-- What an expression can only give: notices beside problems.

--!include 30_workflows/notices/values.sql
--!include 30_workflows/notices/operators.sql
--!include 30_workflows/notices/tokens.sql
--!include 30_workflows/notices/notices.sql
--!include 30_workflows/notices/shapes.sql

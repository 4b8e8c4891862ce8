-- What a value may be.

--!include 30_workflows/values/values.sql
--!include 30_workflows/values/schema_problems.sql
--!include 30_workflows/values/input_schema.sql

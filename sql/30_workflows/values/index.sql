-- Limits of JSON values, and JSON schemas.

--!include 30_workflows/values/values.sql
--!include 30_workflows/values/schema_problems.sql
--!include 30_workflows/values/input_schema.sql

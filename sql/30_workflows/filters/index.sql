-- Filters of expressions: texts, values, dates, their costs.

--!include 30_workflows/filters/text.sql
--!include 30_workflows/filters/values.sql
--!include 30_workflows/filters/dates.sql
--!include 30_workflows/filters/apply.sql
--!include 30_workflows/filters/costs.sql

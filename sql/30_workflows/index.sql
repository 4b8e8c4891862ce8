-- Workflows: the draft, published versions, node types, expressions, validation and the compiled plan.

--!include 30_workflows/tables.sql

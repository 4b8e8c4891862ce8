-- Compiles a definition to what the engine runs.

--!include 30_workflows/compile/graph.sql
--!include 30_workflows/compile/compile_expressions.sql
--!include 30_workflows/compile/bound_inline.sql
--!include 30_workflows/compile/flow_settings.sql
--!include 30_workflows/compile/compile.sql

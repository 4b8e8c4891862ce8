-- Runs: start, commands, waits, bulk operations, columns, steps.

--!include 95_api/runs/runs.sql
--!include 95_api/runs/run_commands.sql
--!include 95_api/runs/bulk_operations.sql
--!include 95_api/runs/bulk_operations_everywhere.sql
--!include 95_api/runs/dead_letters.sql
--!include 95_api/runs/waits.sql
--!include 95_api/runs/run_columns.sql
--!include 95_api/runs/run_steps.sql

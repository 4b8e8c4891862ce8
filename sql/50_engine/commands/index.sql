-- Cancel, pause, retry, fork, and the same for many runs.

--!include 50_engine/commands/end.sql
--!include 50_engine/commands/pause.sql
--!include 50_engine/commands/reuse.sql
--!include 50_engine/commands/rerun.sql
--!include 50_engine/commands/bulk_operations.sql

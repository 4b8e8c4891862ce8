-- Commands on runs: cancel, pause, resume, retry, fork, and bulk operations.

--!include 50_engine/commands/end.sql
--!include 50_engine/commands/pause.sql
--!include 50_engine/commands/reuse.sql
--!include 50_engine/commands/rerun.sql
--!include 50_engine/commands/bulk_operations.sql

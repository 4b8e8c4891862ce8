-- The engine: starts runs, moves them on, and finds those that nothing would move.

--!include 50_engine/core/index.sql
--!include 50_engine/flow_control/index.sql
--!include 50_engine/start/index.sql
--!include 50_engine/steps/index.sql
--!include 50_engine/waits/index.sql
--!include 50_engine/children/index.sql
--!include 50_engine/commands/index.sql
--!include 50_engine/recovery/index.sql

-- Attempts of steps: begin, heartbeat, complete.

--!include 50_engine/steps/quarantine.sql
--!include 50_engine/steps/task.sql
--!include 50_engine/steps/begin.sql
--!include 50_engine/steps/complete.sql
--!include 50_engine/steps/local.sql
--!include 50_engine/steps/isolate.sql
--!include 50_engine/steps/heartbeat.sql
--!include 50_engine/steps/run_logs.sql

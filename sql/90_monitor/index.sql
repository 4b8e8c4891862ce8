-- Monitoring: what must always hold, and what is going on.

--!include 90_monitor/broken_logs.sql
--!include 90_monitor/lost_wake_ups.sql
--!include 90_monitor/stuck_runs.sql
--!include 90_monitor/projections.sql
--!include 90_monitor/references.sql
--!include 90_monitor/invariants.sql
--!include 90_monitor/queue.sql
--!include 90_monitor/builds.sql

-- Monitoring: what must always hold, and what is going on.

--!include 90_monitor/invariants.sql
--!include 90_monitor/queue.sql

-- Starts of runs.

--!include 50_engine/start/start_keys.sql
--!include 50_engine/start/requests.sql
--!include 50_engine/start/start_transition.sql
--!include 50_engine/start/start.sql
--!include 50_engine/start/error_runs.sql

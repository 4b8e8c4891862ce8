-- Recovery: finds runs that have lost their wake-up, repairs them, and replays logs.

--!include 50_engine/recovery/reconcile.sql
--!include 50_engine/recovery/sessions.sql
--!include 50_engine/recovery/repair.sql
--!include 50_engine/recovery/verify.sql

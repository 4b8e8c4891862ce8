-- What nothing would move is found and moved.

--!include 50_engine/recovery/reconcile.sql
--!include 50_engine/recovery/repair.sql
--!include 50_engine/recovery/verify.sql

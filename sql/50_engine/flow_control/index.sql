-- Quotas, fairness between organizations, concurrency, rates and debounces.

--!include 50_engine/flow_control/fair_share.sql
--!include 50_engine/flow_control/fill_free_slots.sql
--!include 50_engine/flow_control/quota.sql
--!include 50_engine/flow_control/flow.sql
--!include 50_engine/flow_control/hold.sql
--!include 50_engine/flow_control/release.sql
--!include 50_engine/flow_control/leave.sql

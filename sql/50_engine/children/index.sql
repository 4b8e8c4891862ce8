-- Child runs: run, forEach, repeat.

--!include 50_engine/children/child_results.sql
--!include 50_engine/children/child_limits.sql
--!include 50_engine/children/children.sql
--!include 50_engine/children/for_each.sql
--!include 50_engine/children/repeat.sql
--!include 50_engine/children/cancel_children.sql

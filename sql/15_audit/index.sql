-- Audit: the log of changes to configuration, its seals, and the log of API requests. The next
-- layer knows who a request is: its trigger writes here.

--!include 15_audit/tables.sql
--!include 15_audit/append_only.sql
--!include 15_audit/differences.sql
--!include 15_audit/write.sql
--!include 15_audit/seal.sql
--!include 15_audit/verify.sql
--!include 15_audit/partitioning.sql

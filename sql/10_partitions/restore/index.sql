-- Restores archives: an archived table becomes a partition again.

--!include 10_partitions/restore/restore.sql
--!include 10_partitions/restore/restore_steps.sql

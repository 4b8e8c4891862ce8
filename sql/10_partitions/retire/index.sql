-- Retires old periods: they are detached, then dropped, archived or kept.

--!include 10_partitions/retire/late_events.sql
--!include 10_partitions/retire/retire_group.sql
--!include 10_partitions/retire/retention_holds.sql
--!include 10_partitions/retire/retire.sql
--!include 10_partitions/retire/retire_concurrently.sql

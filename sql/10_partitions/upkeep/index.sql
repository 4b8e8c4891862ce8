-- Cuts empty partitions anew, gathers statistics of whole tables, and freezes old partitions.

--!include 10_partitions/upkeep/upkeep_tables.sql
--!include 10_partitions/upkeep/recut.sql
--!include 10_partitions/upkeep/upkeep.sql

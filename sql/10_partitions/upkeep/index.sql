-- Statistics of whole tables, and the last vacuum of old partitions.

--!include 10_partitions/upkeep/upkeep_tables.sql
--!include 10_partitions/upkeep/recut.sql
--!include 10_partitions/upkeep/upkeep.sql

-- The catalog of managed tables, the calendar of periods, and the locks of DDL.

--!include 10_partitions/catalog/tables.sql
--!include 10_partitions/catalog/periods.sql
--!include 10_partitions/catalog/catalog.sql
--!include 10_partitions/catalog/locks.sql
--!include 10_partitions/catalog/manage.sql
--!include 10_partitions/catalog/table_like.sql

-- Creates partitions ahead of need.

--!include 10_partitions/create/create.sql
--!include 10_partitions/create/adapt.sql
--!include 10_partitions/create/maintain.sql
--!include 10_partitions/create/build_index.sql

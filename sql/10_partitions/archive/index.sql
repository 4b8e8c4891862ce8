-- Archives of retired periods: tables in schema partitions, and files.

--!include 10_partitions/archive/archives.sql
--!include 10_partitions/archive/archive_tables.sql
--!include 10_partitions/archive/contents.sql
--!include 10_partitions/archive/archive.sql
--!include 10_partitions/archive/drop_archive.sql
--!include 10_partitions/archive/prepare_archive.sql
--!include 10_partitions/archive/archive_files.sql

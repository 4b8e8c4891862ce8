-- Statistics, and what is wrong.

--!include 10_partitions/health/statistics.sql
--!include 10_partitions/health/checks.sql
--!include 10_partitions/health/doctor.sql

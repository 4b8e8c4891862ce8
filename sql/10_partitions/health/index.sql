-- Statistics of partitions, and the doctor.

--!include 10_partitions/health/statistics.sql
--!include 10_partitions/health/checks.sql
--!include 10_partitions/health/doctor.sql

-- kind: code
-- A DBA reads and tunes the policies; what is managed, and by which key, is for partitions.manage().

drop policy if exists policies_dba on partitions.policies;
create policy policies_dba on partitions.policies to flowgres_dba using (true);
drop policy if exists maintenance_dba on partitions.maintenance;
create policy maintenance_dba on partitions.maintenance for select to flowgres_dba using (true);

drop policy if exists departures_dba on partitions.departures;
create policy departures_dba on partitions.departures for select to flowgres_dba using (true);

drop policy if exists conversions_dba on partitions.conversions;
create policy conversions_dba on partitions.conversions for select to flowgres_dba using (true);

drop policy if exists care_dba on partitions.care;
create policy care_dba on partitions.care for select to flowgres_dba using (true);

drop policy if exists archives_dba on partitions.archives;
create policy archives_dba on partitions.archives for select to flowgres_dba using (true);

grant select, delete,
  update (granularity, premake, behind, retention, on_retire, storage, adaptive, warn_bytes, critical_bytes)
  on partitions.policies to flowgres_dba;
grant select on
  partitions.maintenance, partitions.departures, partitions.archives, partitions.conversions, partitions.care
  to flowgres_dba;
grant usage on type partitions.action, partitions.finding to flowgres_dba, flowgres_monitor;

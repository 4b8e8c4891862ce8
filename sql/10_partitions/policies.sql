-- kind: code
-- Row-level security and grants of schema partitions: a DBA reads all of it and tunes managed
-- tables; adding one, or changing its key, needs partitions.manage(). Writes and locks nothing.

drop policy if exists managed_tables_flowgres_dba_all on partitions.managed_tables;
create policy managed_tables_flowgres_dba_all on partitions.managed_tables to flowgres_dba using (true);
drop policy if exists maintenance_flowgres_dba_select on partitions.maintenance;
create policy maintenance_flowgres_dba_select on partitions.maintenance for select to flowgres_dba using (true);

drop policy if exists retirements_flowgres_dba_select on partitions.retirements;
create policy retirements_flowgres_dba_select on partitions.retirements for select to flowgres_dba using (true);

drop policy if exists conversions_flowgres_dba_select on partitions.conversions;
create policy conversions_flowgres_dba_select on partitions.conversions for select to flowgres_dba using (true);

drop policy if exists upkeep_flowgres_dba_select on partitions.upkeep;
create policy upkeep_flowgres_dba_select on partitions.upkeep for select to flowgres_dba using (true);

drop policy if exists archives_flowgres_dba_select on partitions.archives;
create policy archives_flowgres_dba_select on partitions.archives for select to flowgres_dba using (true);

grant select, delete,
  update (granularity, premake, behind, retention, on_retire, storage, adaptive, warn_bytes, critical_bytes)
  on partitions.managed_tables to flowgres_dba;
grant select on
  partitions.maintenance, partitions.retirements, partitions.archives, partitions.conversions, partitions.upkeep
  to flowgres_dba;
grant usage on type partitions.action, partitions.finding to flowgres_dba, flowgres_monitor;

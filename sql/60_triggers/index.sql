-- Triggers: webhooks and schedules, which start runs from outside.

--!include 60_triggers/tables.sql
--!include 60_triggers/register_webhooks.sql
--!include 60_triggers/find_webhook.sql
--!include 60_triggers/schedules.sql
--!include 60_triggers/schedule_times.sql
--!include 60_triggers/register_schedules.sql
--!include 60_triggers/fire_schedules.sql
--!include 60_triggers/policies.sql

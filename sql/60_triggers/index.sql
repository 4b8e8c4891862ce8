-- Triggers: what starts runs from outside.

--!include 60_triggers/tables.sql
--!include 60_triggers/register_webhooks.sql
--!include 60_triggers/find_webhook.sql
--!include 60_triggers/policies.sql

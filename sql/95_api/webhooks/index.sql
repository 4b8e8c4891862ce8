-- Webhook endpoints: who is told what happens in an organization.

--!include 95_api/webhooks/delivery_workflow.sql
--!include 95_api/webhooks/endpoints.sql

--! Message: initial
-- The migration in the making; migrations/README.md says how to write one. The first one is the whole schema.

--!include index.sql

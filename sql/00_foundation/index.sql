-- Foundation: what every other layer stands on.

--!include 00_foundation/schemas.sql
--!include 00_foundation/builds.sql
--!include 00_foundation/errors.sql
--!include 00_foundation/clock.sql
--!include 00_foundation/uuid.sql
--!include 00_foundation/cron_spec.sql
--!include 00_foundation/cron_grammar.sql
--!include 00_foundation/cron_times.sql

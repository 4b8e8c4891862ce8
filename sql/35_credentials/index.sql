-- Credentials, variables, data tables: what workflows use and do not contain.

--!include 35_credentials/variables.sql
--!include 35_credentials/variables_of.sql
--!include 35_credentials/policies.sql

-- What workflows use and do not contain: variables, and credentials with their sealed secrets.

--!include 35_credentials/variables.sql
--!include 35_credentials/credentials.sql
--!include 35_credentials/variables_of.sql
--!include 35_credentials/rights.sql
--!include 35_credentials/secrets.sql
--!include 35_credentials/policies.sql

-- Variables of an organization, which its workflows read.

--!include 35_credentials/variables.sql
--!include 35_credentials/variables_of.sql
--!include 35_credentials/policies.sql

-- Commands on credentials.

--!include 95_api/credentials/credential_types.sql
--!include 95_api/credentials/credentials.sql
--!include 95_api/credentials/checks.sql
--!include 95_api/credentials/seal.sql
--!include 95_api/credentials/share.sql
--!include 95_api/credentials/authorize.sql

-- Accounts: sign-in, passwords, external identities, people.

--!include 95_api/accounts/sign_in.sql
--!include 95_api/accounts/passwords.sql
--!include 95_api/accounts/identities.sql
--!include 95_api/accounts/people.sql

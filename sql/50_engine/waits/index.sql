-- Timers, signals, approvals and resume addresses.

--!include 50_engine/waits/resume_token.sql
--!include 50_engine/waits/waiting.sql
--!include 50_engine/waits/signals.sql
--!include 50_engine/waits/wait.sql
--!include 50_engine/waits/approve.sql
--!include 50_engine/waits/resume.sql

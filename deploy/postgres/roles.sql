-- Three users, so that a hole in one is not a hole in all: the owner changes tables (migrations
-- only), the app reads and writes rows, the report reads. Run by psql as the superuser, connected
-- to the platform's database; again and again does no harm.
-- Passwords are read from the folder named by the variable `secrets` (default /run/secrets).
\set ON_ERROR_STOP on
\if :{?secrets}
\else
    \set secrets /run/secrets
\endif
\set owner_password `cat :secrets/postgres_owner_password`
\set app_password `cat :secrets/postgres_app_password`
\set report_password `cat :secrets/postgres_report_password`

select format('create role %I', name)
  from unnest(array['peyk_owner', 'peyk_app', 'peyk_report']) name
 where not exists (select from pg_roles where rolname = name)
\gexec
alter role peyk_owner login nosuperuser nocreatedb nocreaterole password :'owner_password';
alter role peyk_app login nosuperuser nocreatedb nocreaterole password :'app_password';
alter role peyk_report login nosuperuser nocreatedb nocreaterole password :'report_password';
-- A report may not hold up vacuum, nor a slow one the disks.
alter role peyk_report set default_transaction_read_only = on;
alter role peyk_report set statement_timeout = '60s';

select format('revoke all on database %I from public', current_database())
\gexec
select format('grant connect, temporary on database %I to peyk_owner', current_database())
\gexec
select format('grant connect on database %I to peyk_app, peyk_report', current_database())
\gexec
revoke all on schema public from public;
grant usage, create on schema public to peyk_owner;
grant usage on schema public to peyk_app, peyk_report;

-- What the owner makes from now on.
alter default privileges for role peyk_owner in schema public
    grant select, insert, update, delete on tables to peyk_app;
alter default privileges for role peyk_owner in schema public
    grant usage, select on sequences to peyk_app;
alter default privileges for role peyk_owner revoke execute on functions from public;
alter default privileges for role peyk_owner in schema public
    grant execute on functions to peyk_app;
alter default privileges for role peyk_owner in schema public
    grant select on tables to peyk_report;

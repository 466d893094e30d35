-- The role of the monitoring: it reads statistics, and no table. This file can be run again.
SET log_min_error_statement = 'panic';
SET pg_stat_statements.track = 'none';

\getenv password MONITORING_PASSWORD
SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'monitoring') AS is_new \gset
\if :is_new
CREATE ROLE monitoring LOGIN CONNECTION LIMIT 5 IN ROLE pg_monitor;
\endif
ALTER ROLE monitoring PASSWORD :'password';
SELECT format('GRANT CONNECT ON DATABASE %I TO monitoring', current_database()) \gexec

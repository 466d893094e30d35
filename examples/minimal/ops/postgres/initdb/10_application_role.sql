-- Runs once, as the superuser, when the volume is empty: the application gets a role that owns its
-- database and nothing else. The role may create, change and drop what is in the database; it is
-- no superuser.

-- The server keeps the text of every statement, and logs that of a failed one. CREATE ROLE holds a
-- password.
SET pg_stat_statements.track = 'none';
SET log_min_error_statement = 'panic';

\getenv password DATABASE_PASSWORD
CREATE ROLE "minimal" LOGIN PASSWORD :'password';

ALTER DATABASE "minimal" OWNER TO "minimal";
REVOKE CONNECT, TEMPORARY ON DATABASE "minimal" FROM PUBLIC;

-- Not a trusted extension: only a superuser can create it.
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;

#!/bin/sh
# Each visit is a row in the database.
printf 'Content-Type: text/plain\r\n\r\n'
/usr/lib/postgresql/17/bin/psql --quiet --no-align --tuples-only \
    "host=$DB_HOST port=$DB_PORT user=postgres dbname=webapp connect_timeout=5" 2>&1 <<'SQL'
SET client_min_messages = warning;
CREATE TABLE IF NOT EXISTS visits (at timestamptz DEFAULT now());
INSERT INTO visits DEFAULT VALUES;
SELECT format('visit %s of database %s from %s', count(*), current_database(), inet_client_addr())
    FROM visits;
SQL

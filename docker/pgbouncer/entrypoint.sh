# GraphQL's role is the only one that comes through the pooler.
set -eu
umask 077
printf '"flowgres_api" "%s"\n' "$FLOWGRES_API_PASSWORD" > /tmp/userlist.txt
exec pgbouncer /etc/pgbouncer/pgbouncer.ini

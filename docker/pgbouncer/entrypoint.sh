# The role's password derives from FLOWGRES_SECRET, as rolePassword() in src/roles.ts does it.
set -eu
password=$(printf %s flowgres_api | openssl dgst -sha256 -hmac "$FLOWGRES_SECRET" -binary | base64 | tr '+/' '-_' | tr -d '=\n')
umask 077
printf '"flowgres_api" "%s"\n' "$password" > /tmp/userlist.txt
exec pgbouncer /etc/pgbouncer/pgbouncer.ini

#!/bin/sh
# When does each certificate end? Every day from cron:
# sh certificates_end.sh /etc/pgbouncer/*.crt
# Fails where one has less than 30 days left.
set -eu
status=0
for file; do
    printf '%s ' "$file"
    openssl x509 -in "$file" -noout -enddate
    openssl x509 -in "$file" -noout -checkend 2592000 >/dev/null || status=1
done
exit "$status"

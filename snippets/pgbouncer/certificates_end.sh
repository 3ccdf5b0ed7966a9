#!/bin/sh
# When does each certificate expire? Run it daily from cron:
# sh certificates_end.sh /etc/pgbouncer/*.crt
# Fails if one expires in less than 30 days.
set -eu
status=0
for file; do
    printf '%s ' "$file"
    openssl x509 -in "$file" -noout -enddate
    openssl x509 -in "$file" -noout -checkend 2592000 >/dev/null || status=1
done
exit "$status"

#!/bin/sh
# Create the passwords for compose.yaml in the folder secrets, once.
set -eu
cd "$(dirname "$0")/.."
if [ -e secrets ]; then
    echo "secrets is there already: its passwords are in the database"
    exit 0
fi
# Nobody else on this machine can enter the folder. The containers run as other
# users, who must be able to read each file: hence no umask 077.
mkdir -m 700 secrets
cd secrets

random() { od -A n -N 24 -t x1 /dev/urandom | tr -d ' \n'; }

for name in postgres_password upstream_owner_password upstream_password \
    upstream_monitor_password console_admin_password console_stats_password \
    django_secret_key; do
    random > "$name"
done

# Who may connect to PgBouncer. It logs in to PostgreSQL with the same password.
cat > userlist.txt << END
"upstream" "$(cat upstream_password)"
"pgbouncer_admin" "$(cat console_admin_password)"
"pgbouncer_stats" "$(cat console_stats_password)"
END
chmod a+r ./*
echo "made: the folder secrets"

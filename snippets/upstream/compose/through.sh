#!/bin/sh
# Did a request go through PgBouncer? Ask the application which backend served
# it, PostgreSQL which address it serves, and the network whose address that is.
set -eu
cd "$(dirname "$0")/.."

site=http://$(docker compose port web 8000)
answer=$(curl --silent --show-error --fail "$site/connection/")
backend=$(echo "$answer" | sed 's/.*"backend": \([0-9]*\).*/\1/')
echo "the application: $answer"

docker compose exec -T postgres sh -c '
    PGPASSWORD=$(cat /run/secrets/postgres_password)
    export PGPASSWORD
    psql --username=postgres --no-align --tuples-only --command="$0"
' "select format('PostgreSQL: backend %s serves %s', pid, host(client_addr))
from pg_stat_activity where pid = $backend"

for service in pgbouncer web; do
    address=$(docker compose exec -T postgres getent hosts "$service")
    echo "the network: ${address%% *} is $service"
done

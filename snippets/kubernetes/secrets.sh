#!/bin/sh
# Create the Secrets that the manifests name.
# userlist.txt is what userlist.sql prints; ca.crt is the certificate of the CA
# that signed the database's. The passwords come from the environment, so that
# they are in no file and on no command line.
set -eu
: "${UPSTREAM_PASSWORD:?export the password of the role upstream}"
: "${DJANGO_SECRET_KEY:?export a secret key}"

apply() {
  kubectl create secret generic "$@" --dry-run=client --output=yaml |
    kubectl apply --server-side --filename=-
}

apply database-ca --from-file=ca.crt
# Nobody administers these PgBouncers, so leave out the line of admin_users,
# whatever its name is in your setup.
grep --invert-match '^"pgbouncer_admin"' userlist.txt |
  apply pgbouncer-users --from-file=userlist.txt=/dev/stdin
printf 'PGPASSWORD=%s\nDJANGO_SECRET_KEY=%s\n' \
  "$UPSTREAM_PASSWORD" "$DJANGO_SECRET_KEY" |
  apply upstream --from-env-file=/dev/stdin

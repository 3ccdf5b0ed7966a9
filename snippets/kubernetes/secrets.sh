#!/bin/sh
# Make the Secrets that the manifests name.
# userlist.txt is what userlist.sql prints; the passwords come from the
# environment, so that they stand in no file and no command line.
set -eu
: "${UPSTREAM_PASSWORD:?export the password of the role upstream}"
: "${DJANGO_SECRET_KEY:?export a secret key}"

apply() {
  kubectl create secret generic "$@" --dry-run=client --output=yaml |
    kubectl apply --server-side --filename=-
}

apply pgbouncer-users --from-file=userlist.txt
printf 'PGPASSWORD=%s\nDJANGO_SECRET_KEY=%s\n' \
  "$UPSTREAM_PASSWORD" "$DJANGO_SECRET_KEY" |
  apply upstream --from-env-file=/dev/stdin

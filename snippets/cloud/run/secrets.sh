#!/bin/sh
# Put what the service mounts into Secret Manager, each as version 1.
# userlist.txt is what userlist.sql prints; ca.crt is the certificate of the CA
# that signed the database's. The passwords come from the environment, so that
# they are in no file and on no command line.
set -eu
: "${UPSTREAM_PASSWORD:?export the password of the role upstream}"
: "${DJANGO_SECRET_KEY:?export a secret key}"

gcloud secrets create pgbouncer-ini --data-file=pgbouncer.ini
gcloud secrets create database-ca --data-file=ca.crt
# Nobody administers these PgBouncers, so leave out the line of admin_users,
# whatever its name is in your setup.
grep --invert-match '^"pgbouncer_admin"' userlist.txt |
  gcloud secrets create pgbouncer-users --data-file=-
printf %s "$UPSTREAM_PASSWORD" |
  gcloud secrets create upstream-password --data-file=-
printf %s "$DJANGO_SECRET_KEY" |
  gcloud secrets create django-secret-key --data-file=-

for secret in database-ca pgbouncer-ini pgbouncer-users \
  upstream-password django-secret-key
do
  gcloud secrets add-iam-policy-binding "$secret" \
    --member=serviceAccount:upstream@my-project.iam.gserviceaccount.com \
    --role=roles/secretmanager.secretAccessor
done

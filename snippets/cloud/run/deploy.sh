#!/bin/sh
# The same service without a file: the service's flags come first, then each
# container's own.
set -eu
# As in the image, and a shorter timeout: Cloud Run kills a container 10 seconds
# after SIGTERM.
gunicorn='--worker-tmp-dir=/dev/shm --no-control-socket --graceful-timeout=8'
pooled='postgresql://upstream@127.0.0.1:6432/upstream?sslmode=disable'
direct=postgresql://upstream@10.20.0.3:5432/upstream
images=us-central1-docker.pkg.dev/my-project/upstream

gcloud run deploy upstream \
  --region=us-central1 \
  --service-account=upstream@my-project.iam.gserviceaccount.com \
  --max-instances=20 \
  --concurrency=8 \
  --timeout=30 \
  --no-cpu-throttling \
  --network=default --subnet=default --vpc-egress=private-ranges-only \
  --container=app \
  --image="$images/app:1.0.0" \
  --port=8080 \
  --depends-on=pgbouncer \
  --cpu=1 --memory=512Mi \
  --set-env-vars=DJANGO_SETTINGS_MODULE=settings.pgbouncer \
  --set-env-vars=DJANGO_ALLOWED_HOSTS=www.example.com \
  --set-env-vars=GUNICORN_BIND=0.0.0.0:8080 \
  --set-env-vars=GUNICORN_WORKERS=2,GUNICORN_THREADS=4 \
  --set-env-vars=GUNICORN_CMD_ARGS="$gunicorn" \
  --set-env-vars=DATABASE_URL="$pooled" \
  --set-env-vars=DATABASE_DIRECT_URL="$direct" \
  --set-env-vars=PGSSLMODE=verify-full \
  --set-env-vars=PGSSLROOTCERT=/etc/database-ca/ca.crt \
  --set-secrets=/etc/database-ca/ca.crt=database-ca:1 \
  --set-secrets=PGPASSWORD=upstream-password:1 \
  --set-secrets=DJANGO_SECRET_KEY=django-secret-key:1 \
  --container=pgbouncer \
  --image="$images/pgbouncer:1.26.1" \
  --command=/usr/sbin/pgbouncer --args=/etc/pgbouncer/pgbouncer.ini \
  --cpu=1 --memory=256Mi \
  --startup-probe=tcpSocket.port=6432,periodSeconds=2,failureThreshold=15 \
  --set-secrets=/etc/pgbouncer/pgbouncer.ini=pgbouncer-ini:1 \
  --set-secrets=/etc/pgbouncer-users/userlist.txt=pgbouncer-users:1 \
  --set-secrets=/etc/database-ca/ca.crt=database-ca:1

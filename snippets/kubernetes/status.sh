#!/bin/sh
# Are PgBouncer's pods ready, and what did each log last?
set -eu
kubectl get pods --selector=app.kubernetes.io/name=pgbouncer
kubectl logs --selector=app.kubernetes.io/name=pgbouncer --prefix --tail=20

#!/bin/sh
# A certificate authority of your own, and a certificate for one host:
# sh certificates.sh pooler.internal 10.0.0.5
# Run it for each host, and again before its certificate expires in a year.
# Lock ca.key away in between.
set -eu
umask 077
name=$1
address=$2

if [ ! -e ca.key ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
        -days 3650 -subj "/CN=upstream databases" \
        -keyout ca.key -out ca.crt
fi
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
    -subj "/CN=$name" -addext "subjectAltName=DNS:$name,IP:$address" \
    -keyout "$name.key" -out "$name.csr"
openssl x509 -req -in "$name.csr" -copy_extensions copy -days 365 \
    -CA ca.crt -CAkey ca.key -CAcreateserial -out "$name.crt"
rm "$name.csr"
# Everyone may read a certificate; only its server may read its key.
chmod 644 ca.crt "$name.crt"

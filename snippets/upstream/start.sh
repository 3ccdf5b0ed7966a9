#!/bin/sh
# Create the tables, then serve. First: pip install -r requirements.txt,
# copy .env.example to .env, and put a secret key and your database into it.
set -eu
cd "$(dirname "$0")"
python3 manage.py migrate
exec gunicorn

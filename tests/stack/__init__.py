"""The real servers that proofs run on.

Nothing here knows of pages.

wait.py        poll for a state, with a deadline
leash.py       a server that ends when whoever started it does, however that happens
keeper.py      the process that sees to it
network.py     hosts of our own, and the wires between them
wire.py        the process that carries what they send
postgres.py    PostgreSQL: DATABASE_URL, else the embedded binaries, else a named bin directory
database.py    one proof's own database, its roles, and psql
janitor.py     drops what a run made on a server that is not ours
pgbouncer.py   PgBouncer: on PATH, else from the distribution
poolers.py     each pooler that is compared, from the files that readers copy
patroni.py     a cluster that chooses its primary by itself, on three hosts
haproxy.py     what leads to the primary of one
console.py     its console in psql
handover.py    one address for several servers, which may change
names.py       a name server, whose answers may change
monitoring.py  Prometheus, and the exporters that it scrapes: on PATH, else from the distribution
rollout.py     who is served by which PgBouncer while one takes over, traced and drawn
timeline.py    who holds a server connection when, traced and drawn
find_controls.py  an edit for each proof, under which it fails
matrix.py      the proofs of the version matrix, on every stack that can be had
docker.py      the example project in containers, where a Docker engine answers
upstream.py    the example project: exported, migrated, served by Gunicorn
runners.py     however else it runs: servers and workers, and what their connections come to
forked.py      whose answer a process gets that was forked while a connection was open
redis.py       Redis, where a worker's queue lives: on PATH, else from the distribution
warm.py        a keeper that starts Python programs faster
scripts.py     snippets that are Python scripts
fixtures.py    all of these, as proofs ask for them

witness/sitecustomize.py  what every Python program that a proof starts notes of itself
"""

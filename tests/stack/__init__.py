"""The real servers that proofs run on. Nothing here knows of pages.

    wait.py         poll for a state, with a deadline
    leash.py        a server that ends when whoever started it does, however that happens
    postgres.py     PostgreSQL: DATABASE_URL, else the embedded binaries, else a named bin directory
    database.py     one proof's own database, its roles, and psql
    upstream.py     the example project: exported, migrated, served by Gunicorn
    debian.py       packages from the distribution, unpacked without root
    pgbouncer.py    PgBouncer: on PATH, else from the distribution
"""

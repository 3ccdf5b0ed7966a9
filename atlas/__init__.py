"""The texts that say that a connection is refused, lost, limited or misused, read from the programs: `make texts`.

Read it in this order; each module imports only the ones above it:

    text.py         one text as it is compared: … for what differs each time
    machine.py      from compiled code: calls in PostgreSQL and PgBouncer, and the strings of libpq and psycopg2
    python.py       from the source of drivers, pools, Django, Gunicorn and Celery
    listed.py       the committed list, what is left out of it and by which rule, and which row has a text
    translated.py   the same texts in other languages, from PostgreSQL's message catalogues
    __main__.py     the command, which writes docs/data/texts.json
"""

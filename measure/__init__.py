"""What reuse is worth, measured: `make measure`.

Read it in this order; each module imports only the ones above it:

    plan.py         what is measured: setups, queries, loads, and how long
    statistics.py   means over rounds, their ratios, and the intervals in which the truth lies
    clocks.py       the processor time that processes have used, to the nanosecond
    load.py         one load, sent by k6 (load.js)
    lane.py         one setup, standing ready: PostgreSQL, PgBouncer, Gunicorn, and what it costs them to serve
    environment.py  what it was measured on
    publish.py      a measurement as a command, which writes the file unless noise makes it unsafe
    rounds.py       the rounds, each written down as it ends, so that a later call can go on
    results.py      from rounds to the published file; what noise makes unsafe is not published
    __main__.py     the command

And, apart from these, how long transactions wait:

    queue.py        waits in PgBouncer's queue, beside what snippets/sizing/queueing.py predicts
    poolers.py      what each pooler costs: throughput, latency, processor time, memory
    distance.py     what a wire that delays packets adds to a request

And what a failover costs, in an hour and a half of its own: `python -m measure.failover`.

    failover.py     failed requests, and for how long none is answered, while a primary is lost

And how long a writer waits for an edit:

    edit.py         from an edit of a page to the new one

And what a build costs: `make measure-site`.

    site.py         the CPU of a build, beside that of Material alone on the same pages

And how often the audit is right: `make audit`.

    audit.py        what snippets/audit/audit.py finds in real packages, beside how each finding was judged

The servers are those of tests/stack/, with PostgreSQL's own login costs and with TLS.
"""

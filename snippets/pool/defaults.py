"""The options of Django's own pool, each with its default.

DATABASES["default"]["OPTIONS"]["pool"] takes them, or True for just these.
"""

POOL = {
    "min_size": 4,  # open from the first query on, and kept open
    "max_size": None,  # the most; None is as many as min_size
    "timeout": 30,  # seconds that a thread waits for one
    "max_waiting": 0,  # how many threads may wait; 0 is no limit
    "max_lifetime": 3600,  # seconds until one is replaced
    "max_idle": 600,  # seconds until one beyond min_size is closed
}

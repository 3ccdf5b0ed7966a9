"""Name a transaction's isolation level in a way that both drivers take."""

# region: named
from django.db.backends.postgresql.psycopg_any import IsolationLevel

# Django has psycopg2's or psycopg 3's levels under this name.
OPTIONS = {"isolation_level": IsolationLevel.SERIALIZABLE}
# endregion: named

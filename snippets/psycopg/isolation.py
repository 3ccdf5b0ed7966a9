"""Name a transaction's isolation level, in words that both drivers have."""

# region: named
from django.db.backends.postgresql.psycopg_any import IsolationLevel

# Django puts psycopg2's levels, or psycopg 3's, behind this name.
OPTIONS = {"isolation_level": IsolationLevel.SERIALIZABLE}
# endregion: named

"""Makes a machine ready, with Python's standard library alone.

shell.py        what is taken from the user's shell: the list is shell.txt
address.py      where the site is shown
cache.py        what is fetched or made once, and kept
debian.py       a program from the distribution's packages, unpacked without root
programs.py     a program counts as present once it has started; what it lacks is fetched
progress.py     how far a long task is
uv.py           uv, which installs everything else
environment.py  .venv, from requirements.lock
others.py       releases other than those it locks, for the version matrix
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  (whoever runs this may have any Python)
    sys.exit(
        "setup: Python 3.11 or newer is needed, and {} is {}.{}: make PYTHON=python3.13 …, or install one".format(
            sys.executable, *sys.version_info
        )
    )

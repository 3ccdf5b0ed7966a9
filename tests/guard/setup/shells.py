"""What developers have in their shells, and what is not for the tests."""

from pathlib import Path

SHADOW = 'raise ImportError("not the one of .venv")\n'


def somebodys(folder: Path) -> dict[str, str]:
    """Return variables each of which changes what runs, where it gets through; packages among them are in a folder."""
    for package in ("django", "psycopg", "proven", "tests"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(SHADOW)
    return {
        "PGSERVICE": "none",
        "PGHOST": "192.0.2.1",
        "PGHOSTADDR": "192.0.2.1",
        "PGPORT": "1",
        "PGUSER": "nobody",
        "PGPASSWORD": "wrong",
        "PGPASSFILE": "/dev/null",
        "PGOPTIONS": "-c nonsense=1",
        "PGSSLMODE": "require",
        "PGREQUIREAUTH": "none",
        "PGCHANNELBINDING": "require",
        "PGTARGETSESSIONATTRS": "standby",
        "PGCLIENTENCODING": "LATIN1",
        "PSYCOPG_IMPL": "c",
        "LANG": "C",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONPATH": str(folder),
        "PYTHONOPTIMIZE": "1",
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "error",
        "PYTEST_ADDOPTS": "--nonsense",
        "PYTEST_PLUGINS": "nonsense",
        "DJANGO_SETTINGS_MODULE": "settings.none",
        "GUNICORN_CMD_ARGS": "--nonsense",
        "COMPOSE_FILE": "none.yaml",
        "GIT_DIR": "/nowhere",
        "GH_TOKEN": "none",
        "FORCE_COLOR": "1",
        "COLUMNS": "20",
        "TZ": "Asia/Kathmandu",
        "BASH_ENV": "/nowhere",
        "PYTHON": "python2",
        "QUICK": "1",
        "BASH_FUNC_pytest%%": "() {  exit 1\n}",
        "OF_MANY_LINES": "$(PATH)\n$HOME",
        "a:b#c$d": "1",
    }

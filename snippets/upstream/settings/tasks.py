"""Production, with Django's own tasks in the database."""

from settings.prod import *  # noqa: F403
from settings.prod import INSTALLED_APPS

# region: tasks
INSTALLED_APPS = [*INSTALLED_APPS, "django_tasks_db"]
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
# endregion: tasks

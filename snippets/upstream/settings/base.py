"""Settings that every environment shares.

The rest comes from the environment, or from .env beside manage.py. The secret
key may be in a file instead, which DJANGO_SECRET_KEY_FILE names.
"""

from pathlib import Path

import environ

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.FileAwareEnv()
env.read_env(BASE_DIR / ".env")

SECRET_KEY = env.str("DJANGO_SECRET_KEY")
ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", default=[])

INSTALLED_APPS = ["orders"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "orders.origins.RefuseOtherOrigins",
]
# For `check --deploy`: no cookie needs a CSRF token (W003), and TLS ends in
# front of this project, where HSTS and the redirect belong (W004, W008).
SILENCED_SYSTEM_CHECKS = ["security.W003", "security.W004", "security.W008"]
ROOT_URLCONF = "urls"
WSGI_APPLICATION = "wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

# With DEBUG off, Django by default reports errors only to ADMINS.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}

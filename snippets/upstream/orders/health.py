"""A probe that needs none of the connections that requests share."""

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe


# region: probe
@require_safe
def reachable(request: HttpRequest) -> JsonResponse:
    """Report whether PostgreSQL answers, on a connection opened for this."""
    own = connection.copy()
    own.settings_dict["OPTIONS"].pop("pool", None)
    own.settings_dict["OPTIONS"]["connect_timeout"] = 2  # seconds
    try:
        with own.cursor() as cursor:
            cursor.execute("select 1")
    except DatabaseError:
        return JsonResponse({"status": "database unreachable"}, status=503)
    finally:
        own.close()
    return JsonResponse({"status": "ready"})


# endregion: probe

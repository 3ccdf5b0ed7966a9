"""Refuse POST requests that another site's page makes."""

from django.http import HttpRequest, JsonResponse
from django.utils.deprecation import MiddlewareMixin


class RefuseOtherOrigins(MiddlewareMixin):
    """Refuse a POST whose Origin header is another site's.

    Nobody logs in here, so there is no cookie for a CSRF token to protect.
    """

    def process_request(self, request: HttpRequest) -> JsonResponse | None:
        origin = request.headers.get("Origin")
        own = (f"http://{request.get_host()}", f"https://{request.get_host()}")
        if request.method == "POST" and origin and origin not in own:
            return JsonResponse({"status": "another origin"}, status=403)
        return None

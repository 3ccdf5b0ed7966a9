"""Refuse what another site's page has a browser send."""

from django.http import HttpRequest, JsonResponse
from django.utils.deprecation import MiddlewareMixin


class RefuseOtherOrigins(MiddlewareMixin):
    """A browser says from which origin a POST comes.

    Here nobody logs in, so there is no cookie that a token had to protect.
    """

    def process_request(self, request: HttpRequest) -> JsonResponse | None:
        origin = request.headers.get("Origin")
        own = (f"http://{request.get_host()}", f"https://{request.get_host()}")
        if request.method == "POST" and origin and origin not in own:
            return JsonResponse({"status": "another origin"}, status=403)
        return None

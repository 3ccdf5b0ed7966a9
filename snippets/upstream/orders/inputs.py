"""What a request may contain. Django's forms reject the rest."""

from django import forms
from django.http import JsonResponse


class Placing(forms.Form):
    customer = forms.CharField(
        max_length=100, empty_value="anonymous", required=False
    )


class Pause(forms.Form):
    seconds = forms.FloatField(min_value=0, max_value=10, required=False)


class Among(forms.Form):
    first = forms.IntegerField(min_value=1, max_value=2**63 - 1, required=False)


def refused(form: forms.Form) -> JsonResponse:
    """Answer that the request is invalid, and why."""
    return JsonResponse({"errors": form.errors.get_json_data()}, status=400)

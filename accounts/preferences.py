"""What each person chooses for themselves: language, time zone, light or dark, and alerts."""

from collections.abc import Callable
from zoneinfo import ZoneInfo, available_timezones

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop
from django.views.decorators.http import require_POST
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldBooleanSwitchWidget

from accounts.admin_pages import log_change, staff_user
from accounts.models import User


def apply_preferences(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Show pages in the language and the time zone of the user; without one, in the browser's and the server's.

    Middleware for pages that people see: the API speaks English and UTC.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        user = request.user if request.user.is_authenticated else None
        language = getattr(user, "language", "") or translation.get_language_from_request(request)
        with translation.override(language), timezone.override(zone_of(user)):
            response = get_response(request)
        response.headers.setdefault("Content-Language", language)
        return response

    return middleware


def zone_of(user: object) -> ZoneInfo | None:
    """Return the user's time zone; None for the server's, also where the name is no longer known."""
    name = getattr(user, "time_zone", "")
    return ZoneInfo(name) if name and name in available_timezones() else None


def time_zone_choices() -> list[tuple[str, str]]:
    names = sorted(name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", "posix/")))
    return [("", _("The server's")), ("UTC", "UTC"), *((name, name.replace("_", " ")) for name in names)]


class PreferencesForm(forms.ModelForm):
    time_zone = forms.ChoiceField(
        choices=time_zone_choices, required=False, widget=UnfoldAdminSelectWidget, label=gettext_lazy("Time zone")
    )

    class Meta:
        model = User
        fields = ["language", "time_zone", "theme", "alerts_waiting", "alerts_assigned", "mails_digest"]
        widgets = {
            "language": UnfoldAdminSelectWidget,
            "theme": UnfoldAdminSelectWidget,
            "alerts_waiting": UnfoldBooleanSwitchWidget,
            "alerts_assigned": UnfoldBooleanSwitchWidget,
            "mails_digest": UnfoldBooleanSwitchWidget,
        }


def theme_of(request: HttpRequest) -> str | None:
    """Return `light`, `dark` or `auto` (as the device) for who is logged in, as unfold's THEME; None for others."""
    return getattr(request.user, "theme", "") or "auto" if request.user.is_authenticated else None


class ThemeForm(forms.Form):
    theme = forms.ChoiceField(choices=[(name, name) for name in ("light", "dark", "auto")])


@require_POST
def choose_theme(request: HttpRequest) -> HttpResponse:
    """Save what the user chose with the switch of a page. Only staff get here."""
    form = ThemeForm(request.POST)
    if not form.is_valid():
        return HttpResponse(status=400)
    chosen = form.cleaned_data["theme"]
    User.objects.filter(pk=staff_user(request).pk).update(theme="" if chosen == "auto" else chosen)
    return HttpResponse(status=204)


def preferences(request: HttpRequest) -> HttpResponse:
    """Show and save the preferences of the user who is logged in. Only staff get here."""
    user = staff_user(request)
    form = PreferencesForm(request.POST if request.method == "POST" else None, instance=user)
    if form.is_valid():
        User.objects.filter(pk=user.pk).update(**form.cleaned_data)
        log_change(request, user, gettext_noop("Preferences."))
        with translation.override(form.cleaned_data["language"] or translation.get_language_from_request(request)):
            messages.success(request, _("Saved."))
        return HttpResponseRedirect(reverse("preferences"))
    context = admin.site.each_context(request) | {
        "title": _("My settings"),
        "form": form,
        "has_email": bool(user.email),
    }
    return render(request, "accounts/preferences.html", context, status=400 if form.errors else 200)

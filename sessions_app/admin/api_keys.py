"""Admin pages of API keys, with the sessions that a key is limited to."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
)

from accounts.admin import ApiKeyAdmin, ApiKeyForm
from accounts.models import ApiKey
from sessions_app.admin.scoped import name_at_bridge
from sessions_app.models import WhatsAppSession


class SessionsField(forms.ModelMultipleChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        return name_at_bridge(obj)


class KeyForm(ApiKeyForm):
    session_ids = SessionsField(
        WhatsAppSession.objects.select_related("bridge").order_by("name"),
        label=gettext_lazy("Numbers"),
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=gettext_lazy("The numbers that the key may see. None selected: all that its user sees."),
    )

    class Meta(ApiKeyForm.Meta):
        fields = [*ApiKeyForm.Meta.fields, "session_ids"]

    def clean_session_ids(self) -> list[UUID]:
        return [session.pk for session in self.cleaned_data["session_ids"]]


@admin.register(ApiKey)
class KeyAdmin(ApiKeyAdmin):
    form = KeyForm

    @display(description=gettext_lazy("numbers"))
    def sessions(self, key: ApiKey) -> str:
        if not key.session_ids:
            return _("all that its user sees")
        named = dict(WhatsAppSession.objects.filter(pk__in=key.session_ids).values_list("pk", "name"))
        return ", ".join(named.get(pk, str(pk)) for pk in key.session_ids)

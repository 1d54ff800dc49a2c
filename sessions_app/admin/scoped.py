"""Shared by the admin pages of rows that belong to a session: limit them to the sessions that the user may see."""

from typing import Any
from uuid import UUID

from django.contrib.admin import RelatedFieldListFilter
from django.db.models import QuerySet
from django.http import Http404, HttpRequest

from accounts.admin_pages import StaffOnlyAdmin, is_administrator
from sessions_app.models import AgentProfile, WhatsAppSession

MAX_CHOICES = 200


class VisibleSessionsFilter(RelatedFieldListFilter):
    """Offer only the sessions that the user may see."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:  # noqa: ARG002
        visible = WhatsAppSession.objects.visible_to(request.user).order_by("name")
        return [(session.pk, name_at_bridge(session)) for session in visible.select_related("bridge")[:MAX_CHOICES]]


class VisibleProfilesFilter(RelatedFieldListFilter):
    """Offer only the agent profiles that the user may see, without drafts."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:  # noqa: ARG002
        visible = AgentProfile.objects.visible_to(request.user).order_by("name")
        return list(visible.values_list("pk", "name")[:MAX_CHOICES])


def name_at_bridge(session: WhatsAppSession) -> str:
    """Return the session's name with its bridge: two bridges may each have a session of the same name."""
    return f"{session.name} ({session.bridge.slug})"


class SessionScopedAdmin(StaffOnlyAdmin):
    """Limit the rows to sessions that the user may see. `session_path` is the lookup from a row to its session."""

    session_path = "session"

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        rows: QuerySet = super().get_queryset(request)  # type: ignore[misc]
        if is_administrator(request):
            return rows
        return rows.filter(**{f"{self.session_path}__in": WhatsAppSession.objects.visible_to(request.user)})

    def visible_or_404(self, request: HttpRequest, object_id: UUID) -> Any:
        row = self.get_queryset(request).filter(pk=object_id).first()
        if row is None:
            raise Http404
        return row

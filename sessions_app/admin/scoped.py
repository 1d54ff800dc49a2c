"""Shared by the admin pages of rows that belong to a session: limit them to the sessions that the user may see."""

from typing import Any
from uuid import UUID

from django.contrib.admin import RelatedFieldListFilter, SimpleListFilter
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest
from django.utils.translation import gettext_lazy

from accounts.admin_pages import StaffOnlyAdmin, is_administrator
from sessions_app.models import AgentProfile, WhatsAppSession

MAX_CHOICES = 200


class VisibleSessionsFilter(RelatedFieldListFilter):
    """Offer only the sessions that the user may see."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:  # noqa: ARG002
        visible = WhatsAppSession.objects.visible_to(request.user).without_test_chats().order_by("name")
        return [(session.pk, name_at_bridge(session)) for session in visible.select_related("bridge")[:MAX_CHOICES]]


class VisibleProfilesFilter(RelatedFieldListFilter):
    """Offer only the agent profiles that the user may see, without drafts."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:  # noqa: ARG002
        visible = AgentProfile.objects.visible_to(request.user).order_by("name")
        return list(visible.values_list("pk", "name")[:MAX_CHOICES])


def name_at_bridge(session: WhatsAppSession) -> str:
    """Return the session's name with its bridge: two bridges may each have a session of the same name."""
    return f"{session.name} ({session.bridge.slug})"


class TestChatsFilter(SimpleListFilter):
    """Leave out what belongs to test chats with drafts, which no contact has; show it when it is chosen."""

    title = gettext_lazy("test chats")
    parameter_name = "test_chats"

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        self.session_path = model_admin.session_path
        super().__init__(request, params, model, model_admin)

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:  # noqa: ARG002
        return [("only", gettext_lazy("Only test chats"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:  # noqa: ARG002
        of_test_chats = Q(**{f"{self.session_path}__in": WhatsAppSession.objects.test_chats()})
        return queryset.filter(of_test_chats if self.value() else ~of_test_chats)

    def choices(self, changelist: Any) -> Any:
        """Name the first choice by what it shows: it is not all rows."""
        everything, *others = super().choices(changelist)
        return [everything | {"display": gettext_lazy("Without test chats")}, *others]


class SessionScopedAdmin(StaffOnlyAdmin):
    """Limit the rows to sessions that the user may see. `session_path` is the lookup from a row to its session.

    Its list shows no test chats, unless one asks for them.
    """

    session_path = "session"

    def get_list_filter(self, request: HttpRequest) -> Any:
        return [*super().get_list_filter(request), TestChatsFilter]  # type: ignore[misc]

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

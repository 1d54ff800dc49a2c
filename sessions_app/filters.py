"""Filters of the lists of sessions and agent profiles."""

from django.db.models import Q, QuerySet
from django_filters import UUIDFilter

from sessions_app.models import WhatsAppSession
from whatsapp_agent.api.filters import AnyOf, Exactly, FilterSet, Flag, Search


class SessionFilters(FilterSet):
    agent_profile = UUIDFilter(field_name="agent_profile_id")
    status = AnyOf(choices=WhatsAppSession.Status.choices)
    name = Exactly()
    bridge = Exactly(field_name="bridge__slug", label="The bridge's slug.")
    is_ended = Flag(method="filter_ended", label="Whether the session was deleted.")

    def filter_ended(self, sessions: QuerySet, name: str, is_ended: bool) -> QuerySet:  # noqa: ARG002
        return sessions.exclude(ended_at=None) if is_ended else sessions.filter(ended_at=None)


class AgentProfileFilters(FilterSet):
    is_default = Flag()
    search = Search(method="filter_search", label="Searches name and purpose.")

    def filter_search(self, profiles: QuerySet, name: str, text: str) -> QuerySet:  # noqa: ARG002
        return profiles.filter(Q(name__icontains=text) | Q(purpose__icontains=text))

"""Filters of command runs."""

from django_filters import UUIDFilter

from commands.models import CommandRun
from whatsapp_agent.api.filters import AnyOf, Before, Exactly, FilterSet, Since


class CommandRunFilters(FilterSet):
    session = UUIDFilter(field_name="conversation__session_id")
    conversation = UUIDFilter(field_name="conversation_id")
    turn = UUIDFilter(field_name="turn_id")
    user = UUIDFilter(field_name="user_id")
    name = Exactly(label="The command's name.")
    surface = AnyOf(choices=CommandRun.Surface.choices)
    caller = AnyOf(choices=CommandRun.Caller.choices)
    status = AnyOf(choices=CommandRun.Status.choices)
    since = Since("created_at", label="Ended at this time or later.")
    before = Before("created_at", label="Ended before this time.")

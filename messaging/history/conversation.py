"""Load a conversation with contact, session, profile and bridge in one query, as every turn begins."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, models

from messaging.models import Contact, Conversation
from sessions_app.bridges import bridge_cache
from sessions_app.models import AgentProfile, WhatsAppSession
from whatsapp_agent.postgres.batches import Batched
from whatsapp_agent.postgres.prepared import Statement
from whatsapp_agent.postgres.row_cache import VersionedRowCache

Row = TypeVar("Row", bound=models.Model)


def _columns(model: type[models.Model], alias: str) -> str:
    return ", ".join(f"{alias}.{field.column}" for field in model._meta.concrete_fields)


def columns_of(conversation: str) -> str:
    """Return what `build_conversation` needs, to be selected from an alias of the conversation and from JOINS."""
    profile_and_bridge = (
        "profile.id, ROW(profile.xmin, profile.ctid)::text, bridge.id, ROW(bridge.xmin, bridge.ctid)::text"
    )
    return ", ".join(
        [
            _columns(Conversation, conversation),
            _columns(Contact, "contact"),
            _columns(WhatsAppSession, "session"),
            profile_and_bridge,
        ]
    )


def joins_of(conversation: str) -> str:
    return f"""
  LEFT JOIN messaging_contact contact ON contact.id = {conversation}.contact_id
  LEFT JOIN sessions_app_whatsappsession session ON session.id = {conversation}.session_id
  LEFT JOIN sessions_app_agentprofile profile ON profile.id = session.agent_profile_id
  LEFT JOIN sessions_app_bridge bridge ON bridge.id = session.bridge_id"""


SELECT_CONVERSATIONS = Statement(
    f"""
SELECT {columns_of("conversation")}
  FROM messaging_conversation conversation {joins_of("conversation")}
 WHERE conversation.id = ANY(%(ids)s::uuid[])
"""  # noqa: S608  # the columns are our own models'
)

ID = [field.name for field in Conversation._meta.concrete_fields].index("id")
_profiles = VersionedRowCache(AgentProfile)


def load_conversation(conversation_id: UUID) -> Conversation:
    """Return the conversation with its contact and session. Profile and bridge are shared by all callers: read only.

    Raises Conversation.DoesNotExist, also when it was merged into another one.
    """
    row = _rows(conversation_id)
    if row is None:
        raise Conversation.DoesNotExist
    return build_conversation(row)


def build_conversation(row: Sequence[Any]) -> Conversation:
    """Return the conversation of a row that has `columns_of`; as `load_conversation`."""
    values = iter(row)
    conversation = _next(Conversation, values)
    conversation.contact = _next(Contact, values)
    conversation.session = _next(WhatsAppSession, values)
    profile_id, profile_version, bridge_id, bridge_version = values
    conversation.session.agent_profile = _profiles.get(profile_id, profile_version)
    conversation.session.bridge = bridge_cache.get(bridge_id, bridge_version)
    return conversation


def _select(ids: Sequence[UUID], _wait: bool) -> list[tuple[Any, ...] | None]:
    rows = {row[ID]: row for row in SELECT_CONVERSATIONS.rows(ids=list(ids))}
    return [rows.get(each) for each in ids]


_rows = Batched(_select)


def _next(model: type[Row], values: Iterator[Any]) -> Row:
    """Build an instance from the next values."""
    names = [field.attname for field in model._meta.concrete_fields]
    return model.from_db(DEFAULT_DB_ALIAS, names, list(islice(values, len(names))))

"""Create the contact and conversation of a first message in its own round trip, as many people may write at once."""

from uuid import UUID

import orjson
from django.db import models

from agent.bridges.events import ChatAddress
from messaging.contacts.lookup import alias_spellings, in_lock_order, name_of, phone_of, phones_to_lock
from messaging.models import Contact, Conversation
from sessions_app.models import Bridge
from whatsapp_agent.postgres.prepared import Call, Statement


def _columns(model: type[models.Model]) -> list[str]:
    return [str(field.column) for field in model._meta.concrete_fields]


def _insert(model: type[models.Model], *, json: str, rows: str) -> str:
    """Return SQL that inserts what is written in `json`, with the id of the session of `rows`."""
    columns = _columns(model)
    values = ["session.id" if column == "session_id" else f"new.{column}" for column in columns]
    return f"""INSERT INTO {model._meta.db_table} ({", ".join(columns)})
    SELECT {", ".join(values)} FROM {rows}, json_populate_record(NULL::{model._meta.db_table}, {json}::json) AS new"""  # noqa: S608


# The session of the bridge, if that is as it was when the request was authenticated.
SESSION = """
    SELECT session.id, session.phone AS own_phone, session.lid AS own_lid FROM sessions_app_bridge bridge
      JOIN sessions_app_whatsappsession session ON session.bridge_id = bridge.id
     WHERE bridge.id = %(bridge_id)s AND %(bridge_version)s IN ('', ROW(bridge.xmin, bridge.ctid)::text)
       AND session.name = %(session)s"""
# What `lookup.lock_phones` does, in the round trip of what follows.
LOCK_PHONES = Statement(f"""
SELECT pg_advisory_xact_lock(hashtextextended('contact:' || session.id || ':' || phone, 0))
  FROM ({SESSION}) AS session, unnest(%(phones)s::text[]) AS phone
""")  # noqa: S608
INSERT_CONTACT = Statement(f"""
WITH session AS ({SESSION}
), contact AS (
    {_insert(Contact, json="%(contact)s", rows="session")}
     WHERE NOT EXISTS (SELECT FROM messaging_contactalias alias
                        WHERE alias.session_id = session.id AND alias.value = ANY(%(spellings)s::text[]))
       AND own_phone <> ALL(%(spellings)s::text[]) AND own_lid <> ALL(%(spellings)s::text[])
    RETURNING id, session_id, created_at
), alias AS (
    INSERT INTO messaging_contactalias (session_id, contact_id, kind, value, created_at)
    SELECT contact.session_id, contact.id, alias.kind, alias.value, contact.created_at
      FROM contact, unnest(%(kinds)s::text[], %(values)s::text[]) AS alias(kind, value)
)
{_insert(Conversation, json="%(conversation)s", rows="session, contact")}
""")  # noqa: S608  the columns are our own models'


def contact_creation(*, bridge: Bridge, session_name: str, address: ChatAddress) -> tuple[UUID, list[Call]] | None:
    """Return statements that create the person of an address and the conversation with them, and the contact's id.

    They create nothing if the session is unknown, the person known or named as ourselves, or the bridge not as it was.
    Run them in one transaction; it fails with IntegrityError if another one creates the same contact. None for an
    address that takes more: a group's, or one with a username.
    """
    if address.is_group or address.username:
        return None
    name = name_of(address)
    aliases = in_lock_order(address.aliases)
    contact = Contact(name=name, bridge_name=name, phone=phone_of(address))
    session = {"bridge_id": bridge.pk, "bridge_version": bridge.row_version, "session": session_name}
    insert = (
        INSERT_CONTACT,
        session
        | {
            "contact": _as_json(contact),
            "conversation": _as_json(Conversation(contact_id=contact.pk, address=address.address)),
            "kinds": [kind.value for kind, _ in aliases],
            "values": [value for _, value in aliases],
            "spellings": [value for alias in address.aliases for value in alias_spellings(*alias)],
        },
    )
    phones = phones_to_lock(address)
    return contact.pk, [(LOCK_PHONES, session | {"phones": phones}), insert] if phones else [insert]


def _as_json(row: models.Model) -> str:
    """Return a new row's columns with their defaults and times."""
    values = {str(field.column): field.pre_save(row, add=True) for field in row._meta.concrete_fields}
    return orjson.dumps(values).decode()

"""Create the contact and conversation of a first message in few statements, as many people may write at once."""

from uuid import UUID

import orjson
from django.db import models

from agent.bridges.events import ChatAddress
from messaging.contacts.lookup import alias_spellings, lock_phones, log_created, name_of, phone_of
from messaging.models import Contact, Conversation
from whatsapp_agent.postgres.prepared import Statement


def _columns(model: type[models.Model], *, prefix: str = "") -> str:
    return ", ".join(f"{prefix}{field.column}" for field in model._meta.concrete_fields)


SELECT_SESSION = Statement(
    "SELECT id FROM sessions_app_whatsappsession WHERE bridge_id = %(bridge_id)s AND name = %(name)s"
)
INSERT_CONTACT = Statement(f"""
WITH contact AS (
    INSERT INTO messaging_contact ({_columns(Contact)})
    SELECT {_columns(Contact, prefix="new.")}
      FROM json_populate_record(NULL::messaging_contact, %(contact)s::json) AS new
     WHERE NOT EXISTS (SELECT FROM messaging_contactalias
                        WHERE session_id = %(session_id)s AND value = ANY(%(spellings)s::text[]))
    RETURNING id, session_id, created_at
), alias AS (
    INSERT INTO messaging_contactalias (session_id, contact_id, kind, value, created_at)
    SELECT contact.session_id, contact.id, alias.kind, alias.value, contact.created_at
      FROM contact, unnest(%(kinds)s::text[], %(values)s::text[]) AS alias(kind, value)
), conversation AS (
    INSERT INTO messaging_conversation ({_columns(Conversation)})
    SELECT {_columns(Conversation, prefix="new.")}
      FROM contact, json_populate_record(NULL::messaging_conversation, %(conversation)s::json) AS new
)
SELECT id FROM contact
""")  # noqa: S608  the columns are our own models'


def create_contact(*, bridge_id: UUID, session_name: str, address: ChatAddress) -> bool:
    """Create the person of an address and the conversation with them; return whether that was possible.

    It is not if the session or the person is known already, if the address is a group's, or has a username. Call it in
    a transaction. Raises IntegrityError if another transaction creates the same contact: try again.
    """
    if address.is_group or address.username:
        return False
    session = SELECT_SESSION.rows(bridge_id=bridge_id, name=session_name)
    if not session:
        return False
    ((session_id,),) = session
    lock_phones(session_id=session_id, address=address)
    name = name_of(address)
    contact = Contact(session_id=session_id, name=name, bridge_name=name, phone=phone_of(address))
    conversation = Conversation(session_id=session_id, contact_id=contact.pk, address=address.address)
    is_created = bool(
        INSERT_CONTACT.rows(
            session_id=session_id,
            contact=_as_json(contact),
            conversation=_as_json(conversation),
            kinds=[kind.value for kind, _ in address.aliases],
            values=[value for _, value in address.aliases],
            spellings=[value for alias in address.aliases for value in alias_spellings(*alias)],
        )
    )
    if is_created:
        log_created(session_id, contact.pk)
    return is_created


def _as_json(row: models.Model) -> str:
    """Return a new row's columns with their defaults and times."""
    values = {str(field.column): field.pre_save(row, add=True) for field in row._meta.concrete_fields}
    return orjson.dumps(values).decode()

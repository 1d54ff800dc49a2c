"""What happens in the middle of something else: nothing is lost, and nobody waits for ever."""

import json

import pytest
from django.db import transaction

from agent import inbox
from agent.bridges.events import Address, AliasKind
from messaging import contacts
from messaging.models import Contact, Conversation, Message
from tests.agent.test_webhooks import text_event
from tests.aside import Aside

pytestmark = pytest.mark.django_db(transaction=True)

HIDDEN = Address("99887766@lid", AliasKind.LID)


def deliver(bridge, **changes):
    body = json.dumps(text_event(**changes)).encode()
    return inbox.take_delivery(bridge=bridge, headers={}, body=body)


def both(session, says):
    """Two contacts of one person; returns them, the one known by phone first."""
    says("by phone")
    says("by hidden number", chat=HIDDEN, sender=HIDDEN)
    return Contact.objects.get(phone="+5511988887777"), Contact.objects.get(phone="")


def test_a_message_that_meets_the_merging_of_its_contact_is_kept(bridge, session, says):
    keep, lose = both(session, says)
    with transaction.atomic():
        contacts.merge_contacts(keep=keep, lose=lose)
        delivery = Aside(lambda: deliver(bridge, text="late", **{"from": HIDDEN.address}))
        delivery.until_it_waits()
    assert delivery.result()["kept"] == 1
    assert Message.objects.get(text="late").conversation == Conversation.objects.get()

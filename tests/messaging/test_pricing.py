"""What a number's platform charges for this month's messages, in the API and on the number's page."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from messaging import pricing
from messaging.models import Contact, Conversation, Message
from sessions_app.models import Bridge, WhatsAppSession
from tests.conftest import as_user

URL = "/api/v1/sessions/"


@pytest.fixture
def cloud(bridges: None, profile: Any) -> Bridge:
    return Bridge.objects.create(slug="meta", kind="cloud", webhook_secret="a secret of the cloud")


def a_number(bridge: Bridge, profile: Any, name: str) -> WhatsAppSession:
    return WhatsAppSession.objects.create(bridge=bridge, name=name, status="connected", agent_profile=profile)


@pytest.fixture
def number(cloud: Bridge, profile: Any) -> WhatsAppSession:
    return a_number(cloud, profile, "1234567890")


def send(number: WhatsAppSession, **values: Any) -> Message:
    contact = Contact.objects.filter(session=number).first() or Contact.objects.create(session=number)
    conversation, _ = Conversation.objects.get_or_create(session=number, contact=contact)
    values = {
        "status": "delivered",
        "delivered_at": timezone.now(),
        "direction": "outbound",
        "author": "agent",
    } | values
    return Message.objects.create(session=number, conversation=conversation, **values)


def service(*, billable: bool = False) -> dict[str, Any]:
    return {"billable": billable, "model": "PMP", "type": "regular", "category": "service"}


def prices(user: Any, number: WhatsAppSession) -> Any:
    return as_user(user).get(f"{URL}{number.pk}/").json()["prices"]


def test_a_number_shows_how_many_replies_of_this_month_were_delivered(admin: Any, number: WhatsAppSession):
    send(number, pricing=service())
    send(number, pricing=service(billable=True))
    send(number, pricing=service() | {"category": "utility", "billable": True})
    send(number, pricing=service(), status="failed", delivered_at=None)
    send(number, pricing=service(), status="sent", delivered_at=None)
    send(number, pricing=service(), delivered_at=timezone.now() - timedelta(days=40))
    send(number)

    assert prices(admin, number) == {
        "month": f"{timezone.localtime():%Y-%m}",
        "state": "free",
        "free_replies": 1000,
        "free_replies_left": 998,
        "replies": 2,
        "billable": 2,
    }


def test_a_reply_that_was_read_without_a_receipt_of_its_delivery_is_counted(admin: Any, number: WhatsAppSession):
    send(number, pricing=service(), status="read", delivered_at=None, read_at=timezone.now())

    assert prices(admin, number)["replies"] == 1


def test_a_number_whose_free_replies_are_used_up_is_charged(admin: Any, number: WhatsAppSession, monkeypatch: Any):
    monkeypatch.setattr("agent.bridges.cloud.CloudBridge.free_replies_per_month", 2)
    for _ in range(3):
        send(number, pricing=service())

    shown = prices(admin, number)
    assert (shown["state"], shown["free_replies_left"]) == ("charged", 0)


def test_a_missing_payment_method_is_shown_until_something_that_costs_is_delivered(admin: Any, number: WhatsAppSession):
    send(number, pricing=service(billable=True), said_at=timezone.now() - timedelta(hours=2))
    send(number, status="failed", error_code="payment", delivered_at=None, said_at=timezone.now() - timedelta(hours=1))
    assert prices(admin, number)["state"] == "payment_missing"

    send(number, pricing=service(billable=True))
    assert prices(admin, number)["state"] == "free"


def test_a_number_of_a_bridge_that_charges_nothing_has_no_prices(admin: Any, session: WhatsAppSession):
    assert prices(admin, session) is None


def test_the_list_of_numbers_counts_their_prices_in_one_query_however_many_there_are(
    admin: Any, cloud: Bridge, number: WhatsAppSession, profile: Any
):
    send(number, pricing=service())
    client = as_user(admin)
    with CaptureQueriesContext(
        connection,
    ) as one:
        client.get(URL)
    for count in range(3):
        send(a_number(cloud, profile, f"99{count}"), pricing=service(billable=True))
    with CaptureQueriesContext(connection) as four:
        listed = client.get(URL).json()["results"]

    assert len(four) == len(one)
    assert sorted(row["prices"]["billable"] for row in listed) == [0, 1, 1, 1]


def test_the_page_of_a_number_shows_the_prices_where_its_platform_charges(
    admin: Any, number: WhatsAppSession, session: WhatsAppSession, log_in: Any
):
    send(number, pricing=service())
    client = log_in(admin)

    charging = client.get(f"/admin/sessions_app/whatsappsession/{number.pk}/change/").content.decode()
    other = client.get(f"/admin/sessions_app/whatsappsession/{session.pk}/change/").content.decode()

    assert "1 replies delivered this month (1,000 are free); Meta charges for 0 messages" in charging
    assert "replies delivered this month" not in other


def test_the_count_of_a_number_with_many_messages_is_cached_and_that_of_others_is_exact(
    admin: Any, cloud: Bridge, number: WhatsAppSession, profile: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pricing, "MANY_MESSAGES", 2)
    other = a_number(cloud, profile, "991")
    for _ in range(2):
        send(number, pricing=service())
    send(other, pricing=service())
    assert (prices(admin, number)["replies"], prices(admin, other)["replies"]) == (2, 1)

    send(number, pricing=service())
    send(other, pricing=service())
    assert (prices(admin, number)["replies"], prices(admin, other)["replies"]) == (2, 2)

    cache.clear()  # as after RECOUNT_S
    assert prices(admin, number)["replies"] == 3

"""The admin pages of webhook endpoints and their deliveries."""

import pytest
from django.utils import timezone

from accounts.models import User
from messaging.models import (
    Event,
    WebhookDelivery,
    WebhookEndpoint,
)
from sessions_app.models import WhatsAppSession
from tests.support.messaging.admin import LogIn, list_url, page_url


@pytest.fixture
def delivery(session: WhatsAppSession, staff_member: User) -> WebhookDelivery:
    """An event that was given up, of an endpoint of `staff_member`."""
    endpoint = WebhookEndpoint.objects.create(
        owner=staff_member, url="https://crm.example/hook", secret="whsec_quite-secret", description="<b>CRM</b>"
    )
    event = Event.objects.create(type="message.received", session_id=session.pk, data={})
    given_up = WebhookDelivery.objects.create(endpoint=endpoint, event=event, type=event.type, status="failed")
    given_up.attempts.create(at=timezone.now(), duration_ms=7, status_code=500, answer="<script>alert(1)</script>")
    return given_up


def test_an_endpoint_and_what_it_answered_are_shown_without_its_secret(
    delivery: WebhookDelivery, staff_member: User, log_in: LogIn
) -> None:
    client = log_in(staff_member)
    rows = {"webhookendpoint": delivery.endpoint, "webhookdelivery": delivery}
    for address in [*(list_url(model) for model in rows), *(page_url(row) for row in rows.values())]:
        page = client.get(address).content.decode()
        assert "CRM" in page, address
        assert "quite-secret" not in page
        assert "<script>alert" not in page
        assert "<b>CRM" not in page


def test_the_endpoint_of_another_user_is_neither_shown_nor_changed(
    delivery: WebhookDelivery, staff_stranger: User, log_in: LogIn
) -> None:
    client = log_in(staff_stranger)
    form = {"action": "disable", "confirmed": "1", "_selected_action": [str(delivery.endpoint_id)]}
    client.post(list_url("webhookendpoint"), form)
    client.post(list_url("webhookdelivery"), {"action": "redeliver", "_selected_action": [str(delivery.pk)]})
    delivery.refresh_from_db()
    assert "crm.example" not in client.get(list_url("webhookendpoint")).content.decode()
    assert [client.get(page_url(row)).status_code for row in (delivery, delivery.endpoint)] == [302, 302]
    assert (delivery.status, WebhookEndpoint.objects.get().is_enabled) == ("failed", True)


def test_a_failed_delivery_is_delivered_again(delivery: WebhookDelivery, staff_member: User, log_in: LogIn) -> None:
    log_in(staff_member).post(
        list_url("webhookdelivery"), {"action": "redeliver", "_selected_action": [str(delivery.pk)]}
    )
    delivery.refresh_from_db()
    assert delivery.status == "pending"


def test_an_endpoint_is_stopped_and_started(delivery: WebhookDelivery, staff_member: User, log_in: LogIn) -> None:
    client, seen = log_in(staff_member), []
    for action in ("disable", "enable"):
        form = {"action": action, "confirmed": "1", "_selected_action": [str(delivery.endpoint_id)]}
        client.post(list_url("webhookendpoint"), form)
        seen.append(WebhookEndpoint.objects.get().is_enabled)
    assert seen == [False, True]

"""What happened is posted to endpoints: signed, in order, again when it fails, and never into our own network."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from accounts.models import User
from agent import webhook_sender
from agent.worker_pool import WorkerPool
from messaging.events import feed
from messaging.models import Event, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from messaging.webhooks import deliveries, endpoints
from sessions_app.models import Membership, WhatsAppSession
from tests.support.fake_receiver import Answer, Receiver, RecordedRequest

pytestmark = pytest.mark.usefixtures("feed")


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = True
    settings.WEBHOOK_TIMEOUT_S = 10.0
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def endpoint(member: User, receiver: Receiver) -> WebhookEndpoint:
    """Of a member of the session; told of messages alone."""
    return make_endpoint(member, receiver)


def make_endpoint(owner: User, receiver: Receiver, **changes: Any) -> WebhookEndpoint:
    values: dict[str, Any] = {"url": f"{receiver.url}/hook", "types": ["message.received"]}
    return endpoints.create_endpoint(owner=owner, **values | changes)


def bodies(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in receiver.requests]


def headers_of(request: RecordedRequest) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


def again(endpoint: WebhookEndpoint) -> None:
    """Send once more what waits, as if its time had come."""
    WebhookEndpoint.objects.update(next_try_at=None)
    WebhookDelivery.objects.filter(status="pending").update(next_try_at=timezone.now())
    webhook_sender.deliver_to_endpoint(endpoint.pk)


def test_the_reference_library_takes_what_is_sent(endpoint, receiver, says):
    says("Hello")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    (request,) = receiver.requests
    told = Webhook(endpoint.secret).verify(request.body, headers_of(request))
    event = Event.objects.get(type="message.received")
    assert told["type"] == "message.received"
    assert told["data"]["message"] == event.data["message"]
    assert told["id"] == request.headers["webhook-id"] == f"evt_{event.public_id.hex}"
    assert b"Hello" not in request.body


def test_after_a_dump_was_restored_on_a_younger_server_only_what_is_new_is_sent(endpoint, receiver, says):
    says("Hello")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    Event.objects.update(transaction=2**40)  # as the other server numbered them
    WebhookEndpoint.objects.update(read_transaction=2**40)
    feed.rebase()
    says("Again")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == len(receiver.requests) == 2


def test_what_was_changed_on_the_way_is_not_taken(endpoint, receiver, says):
    says("Hello")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    (request,) = receiver.requests
    headers = headers_of(request)
    for body, changes in [
        (request.body + b" ", {}),
        (request.body, {"webhook-id": "evt_0"}),
        (request.body, {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}),
    ]:
        with pytest.raises(WebhookVerificationError):
            Webhook(endpoint.secret).verify(body, headers | changes)
    with pytest.raises(WebhookVerificationError):
        Webhook(endpoints.new_secret()).verify(request.body, headers)


def test_after_a_rotation_both_secrets_are_good_for_a_day(endpoint, receiver, says):
    former = endpoint.secret
    current = endpoints.rotate_secret(endpoint).secret
    says("Hello")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    WebhookEndpoint.objects.update(former_secret_until=timezone.now())
    says("Hello again")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    first, second = receiver.requests
    for secret in (former, current):
        Webhook(secret).verify(first.body, headers_of(first))
    headers = headers_of(second)
    Webhook(current).verify(second.body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(former).verify(second.body, headers)


def test_the_secret_is_not_readable_in_the_database(endpoint):
    assert len(base64.b64decode(endpoint.secret.removeprefix("whsec_"))) == 32
    with connection.cursor() as cursor:
        cursor.execute("SELECT secret FROM messaging_webhookendpoint")
        assert endpoint.secret not in cursor.fetchone()[0]


# --- what is told ---------------------------------------------------------------------------------------------------


def test_an_endpoint_receives_new_events_in_order_and_once(receiver, says, member):
    says("before")
    endpoint = make_endpoint(member, receiver)
    for _ in range(5):
        says("after")
    for _ in range(3):
        webhook_sender.deliver_to_endpoint(endpoint.pk)
    told = [body["id"] for body in bodies(receiver)]
    happened = Event.objects.filter(type="message.received").order_by("transaction", "id")
    assert told == [f"evt_{event.public_id.hex}" for event in happened[1:]]


def test_an_endpoint_receives_only_the_event_types_of_its_subscription(endpoint, receiver, session, says):
    WhatsAppSession.objects.update(status="disconnected")
    says("Hello")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    assert [body["type"] for body in bodies(receiver)] == ["message.received"]


def test_an_endpoint_of_a_stranger_receives_nothing(receiver, says, stranger):
    endpoint = make_endpoint(stranger, receiver, types=[])
    says("Hello")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    assert receiver.requests == []


def test_a_former_member_receives_nothing_not_even_waiting_events(endpoint, receiver, says, member):
    receiver.answer = Answer(500)
    says("Hello")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    Membership.objects.filter(user=member).delete()
    receiver.answer = Answer()
    says("Hello again")
    again(endpoint)
    assert len(receiver.requests) == 1
    assert WebhookDelivery.objects.get().status == "failed"


def test_an_endpoint_of_an_inactive_user_receives_nothing(endpoint, receiver, says):
    User.objects.update(is_active=False)
    says("Hello")
    assert deliveries.with_pending() == []
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    assert receiver.requests == []


def test_an_endpoint_for_some_sessions_receives_events_of_these_alone(receiver, says, member, session, bridge, profile):
    other = WhatsAppSession.objects.create(bridge=bridge, name="other", status="connected", agent_profile=profile)
    Membership.objects.create(session=other, user=member)
    endpoint = make_endpoint(member, receiver, sessions=[other.pk])
    says("Hello")
    says("Hi", session="other")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    assert [body["data"]["session"] for body in bodies(receiver)] == [str(other.pk)]


# --- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error", "status_code"),
    [
        (Answer(500, b"down"), "status_500", 500),
        (Answer(302, headers={"Location": "/elsewhere"}), "status_302", 302),
        (Answer(404), "status_404", 404),
        (Answer(delay_s=0.6), "timeout", None),
        (Answer(drip_s=0.05), "timeout", None),
    ],
)
def test_a_failure_is_written_down_and_tried_again_under_the_same_id(
    endpoint, receiver, says, settings, answer, error, status_code
):
    settings.WEBHOOK_TIMEOUT_S = 0.4 if error == "timeout" else 20.0
    receiver.answer = answer
    says("Hello")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    attempt = WebhookAttempt.objects.get()
    assert (attempt.error, attempt.status_code) == (error, status_code)
    receiver.answer = Answer()
    settings.WEBHOOK_TIMEOUT_S = 20.0
    again(endpoint)
    first, second = receiver.requests
    assert (first.path, first.headers["webhook-id"], first.body) == ("/hook", second.headers["webhook-id"], second.body)
    assert (WebhookDelivery.objects.get().status, WebhookAttempt.objects.count()) == ("delivered", 2)


def test_the_beginning_of_any_answer_is_stored(endpoint, receiver, says):
    receiver.answer = Answer(500, b"\x00\xff" + b"x" * 100_000)
    says("Hello")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    assert len(WebhookAttempt.objects.get().answer) == 500


def test_pauses_grow_and_after_a_day_it_is_given_up(endpoint, receiver, says):
    receiver.answer = Answer(500)
    says("Hello")
    pauses = []
    for _ in range(len(deliveries.RETRY_AFTER_S)):
        again(endpoint)
        pauses.append((WebhookDelivery.objects.get().next_try_at - timezone.now()).total_seconds())
    again(endpoint)
    delivery = WebhookDelivery.objects.get()
    assert pauses == sorted(pauses)
    assert 20 * 3600 < sum(pauses) < 26 * 3600
    assert (delivery.status, delivery.tries) == ("failed", len(deliveries.RETRY_AFTER_S) + 1)


def test_an_endpoint_that_fails_is_asked_one_thing_at_a_time_until_it_is_well(endpoint, receiver, says):
    receiver.answer = Answer(500)
    for _ in range(10):
        says("Hello")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    first = len(receiver.requests)
    webhook_sender.deliver_to_endpoint(endpoint.pk)  # too early
    again(endpoint)
    assert (first, len(receiver.requests)) == (1, 2)
    receiver.answer = Answer()
    again(endpoint)
    assert WebhookDelivery.objects.filter(status="delivered").count() == 10


def test_one_event_an_endpoint_will_not_take_does_not_hold_up_the_others(endpoint, receiver, says, monkeypatch):
    says("poison")
    outgoing_send = webhook_sender.send
    poison = Event.objects.get(type="message.received").public_id.hex

    def send(endpoint: Any, what: Any) -> Any:
        receiver.answer = Answer(500 if poison in what.webhook_id else 200)
        return outgoing_send(endpoint, what)

    monkeypatch.setattr(webhook_sender, "send", send)
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    says("fine")
    WebhookEndpoint.objects.update(next_try_at=None)  # the pause is over; the poisoned one waits longer
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    assert sorted(WebhookDelivery.objects.values_list("status", flat=True)) == ["delivered", "pending"]


def test_an_endpoint_may_say_when_to_come_back(endpoint, receiver, says):
    receiver.answer = Answer(429, headers={"Retry-After": "1800"})
    says("Hello")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    endpoint.refresh_from_db()
    assert 1700 < (endpoint.next_try_at - timezone.now()).total_seconds() <= 1800


def test_an_endpoint_that_failed_for_days_is_disabled_and_its_owner_gets_an_event(endpoint, receiver, says, member):
    receiver.answer = Answer(500)
    says("Hello")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    WebhookEndpoint.objects.update(failing_since=timezone.now() - deliveries.DISABLED_AFTER - timedelta(hours=1))
    again(endpoint)
    endpoint.refresh_from_db()
    assert not endpoint.is_enabled
    assert "3 days" in endpoint.disabled_reason
    told = feed.read(reader=feed.Reader.of(member), types=["endpoint.disabled"]).events
    assert [event.data["endpoint"] for event in told] == [str(endpoint.pk)]
    assert deliveries.with_pending() == []


def test_an_endpoint_that_is_gone_is_disabled_at_once(endpoint, receiver, says):
    receiver.answer = Answer(410)
    says("Hello")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    endpoint.refresh_from_db()
    assert not endpoint.is_enabled


def test_an_endpoint_enabled_again_receives_the_events_it_missed(endpoint, receiver, says):
    endpoints.disable(endpoint)
    says("missed")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    assert receiver.requests == []
    endpoints.enable(endpoint)
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    assert len(receiver.requests) == 1


def test_an_endpoint_that_is_dead_lets_its_place_in_the_feed_wait(endpoint, receiver, says, monkeypatch):
    monkeypatch.setattr(deliveries, "MAX_PENDING", 3)
    receiver.answer = Answer(500)
    for _ in range(20):
        says("Hello")
    for _ in range(4):
        again(endpoint)
    assert WebhookDelivery.objects.count() == 3
    receiver.answer = Answer()
    again(endpoint)
    assert len({body["id"] for body in bodies(receiver)}) == 20


# --- whose turn it is -----------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_processes_do_not_deliver_to_an_endpoint_at_once(endpoint, receiver, says):
    receiver.answer = Answer(delay_s=0.05)
    for _ in range(5):
        says("Hello")

    def tell() -> None:
        try:
            webhook_sender.deliver_to_endpoint(endpoint.pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(receiver.requests), receiver.most_at_once) == (5, 1)


def test_a_delivery_of_a_process_that_died_is_sent_again_when_its_lease_expires(endpoint, receiver, says):
    says("Hello")
    lease = deliveries.acquire_lease(endpoint.pk)
    deliveries.load_batch(lease)  # and then it is killed
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    assert receiver.requests == []
    WebhookEndpoint.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    assert len(receiver.requests) == 1
    assert deliveries.load_batch(lease) is None


def test_conversations_go_side_by_side_and_each_in_order(endpoint, receiver, says):
    receiver.answer = Answer(delay_s=0.05)
    for number in range(4):
        for chat in range(3):
            says(f"{number}", chat=f"551198888000{chat}@s.whatsapp.net")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    order: dict[str, list[str]] = {}
    for body in bodies(receiver):
        order.setdefault(body["data"]["conversation"], []).append(body["data"]["message"])
    assert receiver.most_at_once > 1
    assert len(order) == 3
    assert all(messages == sorted(messages) for messages in order.values())  # ids grow with time


@pytest.mark.django_db(transaction=True)
def test_a_slow_endpoint_does_not_keep_another_waiting(endpoint, receiver, says, member):
    receiver.answers = {"/hook": Answer(delay_s=4)}
    quick = make_endpoint(member, receiver, url=f"{receiver.url}/quick")

    def deliver(endpoint_id, _group):
        return webhook_sender.deliver_to_endpoint(endpoint_id)

    pool = WorkerPool("webhook", deliver, threads=4, submit_at=lambda *_: None)
    says("Hello")
    give_up_at = time.monotonic() + 60
    while not any(request.path == "/quick" for request in receiver.requests):
        assert time.monotonic() < give_up_at
        for endpoint_id in deliveries.with_pending():
            pool.submit(endpoint_id, endpoint_id)
        time.sleep(0.02)
    assert not WebhookDelivery.objects.filter(endpoint=endpoint, status="delivered").exists()
    pool.close(timeout_s=20)
    assert WebhookDelivery.objects.filter(status="delivered").count() == 2
    assert quick.is_enabled


# --- where to -------------------------------------------------------------------------------------------------------


def test_an_address_that_became_private_is_not_asked(endpoint, receiver, says, settings):
    settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS = False  # as when the name meant another address at its creation
    says("Hello")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    assert receiver.requests == []
    assert WebhookAttempt.objects.get().error == "private_address"


# --- again ----------------------------------------------------------------------------------------------------------


def test_what_was_delivered_can_be_delivered_again_under_the_same_id(endpoint, receiver, says):
    says("Hello")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    deliveries.redeliver(WebhookDelivery.objects.get())
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert WebhookAttempt.objects.count() == 2


def test_a_test_goes_to_one_endpoint_alone(endpoint, receiver, member):
    make_endpoint(member, receiver, url=f"{receiver.url}/other", types=[])
    deliveries.send_test(endpoint)
    for one in WebhookEndpoint.objects.all():
        webhook_sender.deliver_to_endpoint(one.pk)
    assert [(request.path, json.loads(request.body)["type"]) for request in receiver.requests] == [
        ("/hook", "endpoint.test")
    ]


def test_what_came_to_an_end_is_forgotten_after_a_week_and_what_waits_is_not(endpoint, receiver, says):
    says("Hello")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    receiver.answer = Answer(500)
    says("Hello again")
    webhook_sender.deliver_to_endpoint(endpoint.pk)
    WebhookDelivery.objects.update(created_at=timezone.now() - deliveries.RETENTION - timedelta(days=1))
    deliveries.purge()
    assert [delivery.status for delivery in WebhookDelivery.objects.all()] == ["pending"]

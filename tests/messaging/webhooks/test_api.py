"""`webhook-endpoints/` and `webhook-deliveries/` of the API."""

import json
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import transaction
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.credentials.keys import create_key
from messaging.models import Event, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from messaging.webhooks import deliveries, endpoints
from sessions_app.models import Membership, WhatsAppSession
from tests.conftest import as_user
from tests.support.background import BackgroundCall

ENDPOINTS, DELIVERIES = "/api/v1/webhook-endpoints/", "/api/v1/webhook-deliveries/"
URL = "https://nobody.invalid/hook"


@pytest.fixture
def client(member):
    return as_user(member)


@pytest.fixture
def endpoint(member):
    return endpoints.create_endpoint(owner=member, url=URL)


@pytest.fixture
def delivery(endpoint):
    return deliveries.send_test(endpoint)


def post(client, path, key=None, **body):
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(path, json.dumps(body), content_type="application/json", headers=headers)


def patch(client, endpoint, **body):
    return client.patch(f"{ENDPOINTS}{endpoint.pk}/", json.dumps(body), content_type="application/json")


def test_the_secret_is_shown_once(client):
    made = post(client, ENDPOINTS, url=URL)
    assert made.status_code == 201
    assert made.json()["secret"] == WebhookEndpoint.objects.get().secret
    shown = client.get(f"{ENDPOINTS}{made.json()['id']}/").json()
    assert "whsec_" not in json.dumps(shown)
    assert (shown["types"], shown["sessions"], shown["is_enabled"]) == ([], None, True)


def test_who_asks_twice_under_one_key_has_one_endpoint_and_its_secret(client):
    first, second = post(client, ENDPOINTS, key="k", url=URL), post(client, ENDPOINTS, key="k", url=URL)
    assert WebhookEndpoint.objects.count() == 1
    assert first.json()["secret"] == second.json()["secret"]


def test_an_endpoint_can_be_changed_disabled_and_enabled_again(client, endpoint, session):
    answer = patch(client, endpoint, types=["turn.finished"], sessions=[str(session.pk)], is_enabled=False)
    assert answer.status_code == 200, answer.json()
    assert (answer.json()["types"], answer.json()["sessions"], answer.json()["is_enabled"]) == (
        ["turn.finished"],
        [str(session.pk)],
        False,
    )
    answer = patch(client, endpoint, sessions=None, is_enabled=True, description="CRM", url="https://other.invalid/")
    assert (answer.json()["sessions"], answer.json()["is_enabled"], answer.json()["disabled_reason"]) == (
        None,
        True,
        "",
    )
    assert (answer.json()["url"], answer.json()["description"]) == ("https://other.invalid/", "CRM")


def test_a_new_secret_is_shown_once_and_the_former_one_is_good_for_a_while(client, endpoint):
    answer = post(client, f"{ENDPOINTS}{endpoint.pk}/rotate-secret/")
    assert answer.status_code == 200
    assert answer.json()["secret"] != endpoint.secret
    assert answer.json()["former_secret_until"] is not None


def test_an_endpoint_can_be_forgotten(client, endpoint, delivery):
    assert client.delete(f"{ENDPOINTS}{endpoint.pk}/").status_code == 204
    assert not WebhookDelivery.objects.exists()


def test_a_test_and_what_came_of_it_can_be_seen(client, endpoint):
    made = post(client, f"{ENDPOINTS}{endpoint.pk}/test/")
    assert (made.status_code, made.json()["type"], made.json()["status"]) == (202, "endpoint.test", "pending")
    delivery = WebhookDelivery.objects.get()
    WebhookAttempt.objects.create(
        delivery=delivery, at=delivery.created_at, duration_ms=12, status_code=500, error="status_500", answer="down"
    )
    (listed,) = client.get(f"{ENDPOINTS}{endpoint.pk}/deliveries/").json()["results"]
    assert listed["attempts"][0]["answer"] == "down"
    assert client.get(f"{DELIVERIES}{delivery.pk}/").json() == listed


def test_deliveries_are_narrowed_down(client, endpoint, delivery):
    url = f"{ENDPOINTS}{endpoint.pk}/deliveries/"
    WebhookDelivery.objects.update(status="failed")
    later = (timezone.now() + timedelta(hours=1)).isoformat()

    def found(**query):
        return [row["id"] for row in client.get(url, query).json()["results"]]

    for query in ({"status": "failed"}, {"type": delivery.type}, {"before": later}):
        assert found(**query) == [str(delivery.pk)]
    for query in ({"status": "pending"}, {"type": "turn.finished"}, {"since": later}):
        assert found(**query) == []
    refused = client.get(url, {"statuss": "failed"})
    assert (refused.status_code, list(refused.json()["fields"])) == (400, ["statuss"])


def test_a_delivery_can_be_sent_again(client, delivery):
    WebhookDelivery.objects.update(status="failed")
    answer = post(client, f"{DELIVERIES}{delivery.pk}/redeliver/")
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")


def test_nothing_is_sent_again_to_an_endpoint_that_is_disabled(client, endpoint, delivery):
    endpoints.disable(endpoint)
    assert post(client, f"{DELIVERIES}{delivery.pk}/redeliver/").status_code == 409
    assert post(client, f"{ENDPOINTS}{endpoint.pk}/test/").status_code == 409


def test_who_only_reads_may_not_choose_where_events_go(stranger):
    stranger.groups.clear()
    assert as_user(stranger).get(ENDPOINTS).status_code == 403


def test_a_stranger_finds_nothing(endpoint, delivery, stranger):
    client = as_user(stranger)
    assert client.get(ENDPOINTS).json()["results"] == []
    answers = [
        client.get(f"{ENDPOINTS}{endpoint.pk}/"),
        patch(client, endpoint, url="https://mine.invalid/"),
        client.delete(f"{ENDPOINTS}{endpoint.pk}/"),
        post(client, f"{ENDPOINTS}{endpoint.pk}/rotate-secret/"),
        post(client, f"{ENDPOINTS}{endpoint.pk}/test/"),
        client.get(f"{ENDPOINTS}{endpoint.pk}/deliveries/"),
        client.get(f"{DELIVERIES}{delivery.pk}/"),
        post(client, f"{DELIVERIES}{delivery.pk}/redeliver/"),
    ]
    assert {answer.status_code for answer in answers} == {404}


def test_nobody_gets_events_of_sessions_they_cannot_see(stranger, session):
    answer = post(as_user(stranger), ENDPOINTS, url=URL, sessions=[str(session.pk)])
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["sessions"])


def test_through_a_key_for_some_sessions_only_endpoints_for_these_are_seen_and_made(
    member, session, bridge, profile, endpoint
):
    other = WhatsAppSession.objects.create(bridge=bridge, name="other", agent_profile=profile)
    Membership.objects.create(session=other, user=member)
    endpoints.create_endpoint(owner=member, url=URL, sessions=[session.pk, other.pk])
    client = APIClient()
    _, text = create_key(user=member, name="CRM", scopes=["webhooks:manage"], session_ids=[session.pk])
    client.credentials(HTTP_AUTHORIZATION=f"Api-Key {text}")
    made = post(client, ENDPOINTS, url=URL)
    assert made.json()["sessions"] == [str(session.pk)]
    assert [one["id"] for one in client.get(ENDPOINTS).json()["results"]] == [made.json()["id"]]
    assert patch(client, endpoint, url="https://mine.invalid/").status_code == 404
    wider = client.patch(
        f"{ENDPOINTS}{made.json()['id']}/", json.dumps({"sessions": [str(other.pk)]}), content_type="application/json"
    )
    assert wider.status_code == 400


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": ""}, "url"),
        ({"url": 7}, "url"),
        ({"url": "nonsense"}, "url"),
        ({"url": "ftp://nobody.invalid/"}, "url"),
        ({"url": "https://user:secret@nobody.invalid/"}, "url"),
        ({"url": "http://127.0.0.1/"}, "url"),
        ({"url": "http://2130706433/"}, "url"),
        ({"url": "http://[::ffff:169.254.169.254]/"}, "url"),
        ({"url": "https://nobody.invalid/" + "x" * 2000}, "url"),
        ({"url": URL, "types": ["nonsense"]}, "types"),
        ({"url": URL, "types": "message.received"}, "types"),
        ({"url": URL, "sessions": []}, "sessions"),
        ({"url": URL, "sessions": ["1"]}, "sessions"),
        ({"url": URL, "sessions": [str(uuid4())]}, "sessions"),
        ({"url": URL, "secret": "mine"}, "secret"),
        ({"url": URL, "owner": str(uuid4())}, "owner"),
        ({"url": URL, "is_enabled": True}, "is_enabled"),
    ],
)
def test_an_invalid_endpoint_is_refused_by_the_name_of_the_field(client, body, field):
    answer = post(client, ENDPOINTS, **body)
    assert (answer.status_code, list(answer.json().get("fields", {}))) == (400, [field]), answer.json()


def test_a_user_has_so_many_endpoints_and_no_more(client, monkeypatch):
    monkeypatch.setattr(endpoints, "MAX_ENDPOINTS", 1)
    assert [post(client, ENDPOINTS, url=URL).status_code for _ in range(2)] == [201, 409]


def test_a_delivery_names_its_event_until_the_event_is_deleted(client, endpoint, delivery):
    event = Event.objects.get(type="endpoint.test")
    (row,) = client.get(f"{ENDPOINTS}{endpoint.pk}/deliveries/").json()["results"]
    assert row["event"] == f"evt_{event.public_id.hex}" == client.get(f"{DELIVERIES}{delivery.pk}/").json()["event"]
    event.delete()
    assert client.get(f"{DELIVERIES}{delivery.pk}/").json()["event"] is None


@pytest.mark.django_db(transaction=True)
def test_an_endpoint_is_deleted_while_something_is_being_queued_for_it(member, endpoint):
    url = f"{ENDPOINTS}{endpoint.pk}/"
    with transaction.atomic():
        deliveries.send_test(endpoint)
        deleting = BackgroundCall(lambda: as_user(member).delete(url).status_code)
        deleting.wait_for_lock()
    assert deleting.result() == 204
    with transaction.atomic():
        again = endpoints.create_endpoint(owner=member, url=URL)
    with transaction.atomic():
        endpoints.delete_endpoint(again)
        testing = BackgroundCall(lambda: as_user(member).post(f"{ENDPOINTS}{again.pk}/test/").status_code)
        testing.wait_for_lock()
    assert testing.result() == 404
    assert not WebhookDelivery.objects.exists()

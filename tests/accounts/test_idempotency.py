"""A POST that is sent twice is done once."""

import threading
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.urls import path
from django.utils import timezone
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.views import APIView

from accounts import idempotency
from accounts.idempotency import idempotent
from accounts.models import IdempotentRequest, User
from whatsapp_agent.errors import BridgeFailed, Conflict

CLIENTS = 16


class Make(APIView):
    """Makes a group, then answers as it was received."""

    permission_classes = [IsAuthenticated]

    parser_classes = [JSONParser, MultiPartParser]
    at_work: Any = None

    @idempotent
    def post(self, request):
        group = Group.objects.create(name=str(uuid4()))
        match request.data.get("then"):
            case "conflict":
                raise Conflict
            case "bridge failure":
                raise BridgeFailed
            case "crash":
                raise RuntimeError
            case "wait":
                Make.at_work(self)
        return Response({"id": group.pk, "at": timezone.now()}, status=201, headers={"Location": f"/made/{group.pk}/"})


class AskBridge(APIView):
    permission_classes = [IsAuthenticated]

    @idempotent(atomic=False)
    def post(self, request):
        Group.objects.create(name=str(uuid4()))
        assert not connection.in_atomic_block
        return Response({"done": request.data})


class Choose(APIView):
    """Holds a transaction unless the request is one that waits."""

    permission_classes = [IsAuthenticated]

    @idempotent(atomic=lambda view: not view.request.data["waits"])
    def post(self, request):
        return Response({"is_atomic": connection.in_atomic_block, "request": request.data})


urlpatterns = [
    path("make/", Make.as_view()),
    path("make/again/", Make.as_view()),
    path("ask/", AskBridge.as_view()),
    path("choose/", Choose.as_view()),
]
pytestmark = pytest.mark.urls(__name__)


@pytest.fixture(autouse=True)
def no_groups(stranger: User) -> None:
    """The roles are groups, also the one of `stranger`, and here groups are what is made."""
    Group.objects.all().delete()


@pytest.fixture
def client(stranger: User, no_groups: None) -> APIClient:
    return logged_in(stranger)


def logged_in(user: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(user)
    return client


def post(client: APIClient, body: Any = None, *, key: str = "k1", to: str = "/make/", form: str = "json") -> Any:
    return client.post(to, body or {"text": "Hi"}, format=form, headers={"Idempotency-Key": key})


def test_a_repeated_request_runs_once_and_gets_the_same_response(client):
    first, again = post(client), post(client)
    assert Group.objects.count() == 1
    assert (again.status_code, again.json(), again.headers["Location"]) == (
        first.status_code,
        first.json(),
        first.headers["Location"],
    )
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"


def test_a_post_without_a_key_runs_every_time(client):
    for _ in range(2):
        client.post("/make/", {}, format="json")
    assert Group.objects.count() == 2


def test_a_body_with_fields_in_another_order_is_the_same(client):
    post(client, {"a": 1, "b": 2})
    assert post(client, {"b": 2, "a": 1}).headers["Idempotent-Replayed"] == "true"


def test_a_key_reused_for_another_body_is_refused(client):
    post(client, {"text": "Hi"})
    refused = post(client, {"text": "Ho"})
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    assert Group.objects.count() == 1


def test_a_repeated_upload_is_recognised_whatever_its_boundary(client):
    def upload(content: bytes) -> Any:
        return post(client, {"file": SimpleUploadedFile("a.txt", content)}, form="multipart")

    assert upload(b"one").status_code == 201
    assert upload(b"one").headers["Idempotent-Replayed"] == "true"
    assert upload(b"two").status_code == 422


def test_a_key_belongs_to_its_caller_and_route(client, django_user_model):
    other = logged_in(django_user_model.objects.create_user("other"))
    answers = [post(client), post(other), post(client, to="/make/again/")]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert Group.objects.count() == 3


@pytest.mark.parametrize(
    ("header", "key"), [('"abc"', "abc"), ("abc", "abc"), ("order 4711", "order 4711"), (r'"a\"b\\"', 'a"b\\')]
)
def test_a_key_is_a_quoted_string_or_a_bare_word(header, key):
    assert idempotency.parse_key(header) == key


@pytest.mark.parametrize("header", ["", '""', '" "', '"abc', " ", "x" * 256, "clé", "a\x00b", "a\tb"])
def test_a_malformed_key_is_refused(header):
    with pytest.raises(idempotency.InvalidIdempotencyKey):
        idempotency.parse_key(header)


def test_a_stored_refusal_is_replayed(client):
    first, again = post(client, {"then": "conflict"}), post(client, {"then": "conflict"})
    assert (first.status_code, again.status_code, again.json()) == (409, 409, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"


def test_a_failure_with_5xx_is_rolled_back_and_not_stored(client):
    failed, again = post(client, {"then": "bridge failure"}), post(client, {"then": "bridge failure"})
    assert (failed.status_code, again.status_code) == (502, 502)
    assert "Idempotent-Replayed" not in again.headers
    assert not Group.objects.exists()


def test_a_crash_of_the_view_releases_the_key(client):
    client.raise_request_exception = False
    assert post(client, {"then": "crash"}).status_code == 500
    assert not IdempotentRequest.objects.exists()
    assert not Group.objects.exists()


def test_a_key_can_be_reused_after_a_day(client):
    post(client, {"text": "Hi"})
    IdempotentRequest.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert post(client, {"text": "Ho"}).status_code == 201
    assert IdempotentRequest.objects.get().created_at > timezone.now() - timedelta(minutes=1)


def test_stored_responses_are_purged_after_a_day(client):
    post(client, key="old")
    IdempotentRequest.objects.update(created_at=timezone.now() - timedelta(hours=25))
    post(client, key="new")
    idempotency.purge()
    assert [request.key for request in IdempotentRequest.objects.all()] == ["new"]


def test_a_request_that_is_running_does_not_run_twice(client, monkeypatch):
    concurrent: list[Any] = []
    monkeypatch.setattr(Make, "at_work", lambda _: concurrent.append(post(client, {"then": "wait"})))
    assert post(client, {"then": "wait"}).status_code == 201
    assert (concurrent[0].status_code, concurrent[0].json()["code"]) == (409, "idempotency_key_in_use")


def abandon(claims: Any) -> None:
    claims.update(claimed_at=timezone.now() - timedelta(seconds=idempotency.CLAIM_TTL_S + 1))


def test_the_claim_of_a_dead_process_expires(client):
    post(client, {"text": "Hi"})
    IdempotentRequest.objects.update(status_code=None, answer="")  # as the crash leaves it
    assert post(client, {"text": "Hi"}).status_code == 409
    abandon(IdempotentRequest.objects)
    assert post(client, {"text": "Ho"}).status_code == 422
    assert post(client, {"text": "Hi"}).status_code == 201


def test_a_request_that_lost_its_claim_is_rolled_back(client, monkeypatch):
    # somebody else has it by the time the work is done
    monkeypatch.setattr(Make, "at_work", lambda _: IdempotentRequest.objects.update(token=uuid4()))
    assert post(client, {"then": "wait"}).status_code == 409
    assert not Group.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_view_that_waits_for_a_bridge_holds_no_transaction(stranger):
    client = logged_in(stranger)
    assert [post(client, to="/ask/").status_code for _ in range(2)] == [200, 200]
    assert Group.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("waits", [True, False])
def test_a_view_chooses_by_the_request_whether_it_holds_a_transaction(stranger, waits):
    answer = post(logged_in(stranger), {"waits": waits}, to="/choose/")
    assert answer.json()["is_atomic"] is not waits


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_run_once(stranger):
    start = threading.Barrier(CLIENTS)
    answers: list[Any] = []

    def ask(client: APIClient) -> None:
        try:
            for number in range(5):
                connection.close()  # there are fewer than clients: whoever waits for the others holds none
                start.wait(timeout=20)
                answers.append((number, post(client, {"number": number}, key=f"key-{number}")))
        finally:
            connection.close()

    threads = [threading.Thread(target=ask, args=[logged_in(stranger)]) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Group.objects.count() == 5
    for number in range(5):
        received = [answer for of, answer in answers if of == number]
        assert {answer.status_code for answer in received} <= {201, 409}
        assert len({answer.json()["id"] for answer in received if answer.status_code == 201}) == 1
        assert (
            len(
                [1 for answer in received if answer.status_code == 201 and not answer.has_header("Idempotent-Replayed")]
            )
            == 1
        )
        assert post(logged_in(stranger), {"number": number}, key=f"key-{number}").status_code == 201

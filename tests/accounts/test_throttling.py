"""How often one caller may ask."""

import threading
from typing import Any

import pytest
from django.db import connection
from django.urls import path
from django.utils import timezone
from rest_framework.permissions import AllowAny, IsAdminUser
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.views import APIView

from accounts import throttling
from accounts.models import RequestRate, User


class Open(APIView):
    permission_classes = [AllowAny]

    def get(self, request):
        return Response({"path": request.path})


class Closed(APIView):
    permission_classes = [IsAdminUser]

    def get(self, _request):
        return Response({})


urlpatterns = [path("open/", Open.as_view()), path("closed/", Closed.as_view())]
pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]


@pytest.fixture(autouse=True)
def rates(settings: Any) -> None:
    settings.API_RATE_PER_MINUTE = 4
    settings.ANONYMOUS_RATE_PER_MINUTE = 2


def logged_in(user: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(user)
    return client


def test_a_response_shows_the_remaining_requests(stranger):
    answers = [logged_in(stranger).get("/open/") for _ in range(2)]
    headers = [
        (answer.headers["RateLimit-Limit"], answer.headers["RateLimit-Remaining"], answer.headers["RateLimit-Reset"])
        for answer in answers
    ]
    assert headers == [("4", "3", "15"), ("4", "2", "30")]
    assert answers[0].headers["RateLimit-Policy"] == "4;w=60"


def test_a_throttled_caller_gets_retry_after(stranger):
    *_, refused = [logged_in(stranger).get("/open/") for _ in range(5)]
    assert (refused.status_code, refused.json()["code"]) == (429, "throttled")
    assert 1 <= int(refused.headers["Retry-After"]) <= 15
    assert refused.headers["RateLimit-Remaining"] == "0"


def test_a_refused_request_counts(stranger):
    assert [logged_in(stranger).get("/closed/").status_code for _ in range(5)] == [403] * 4 + [429]
    wrong = {"Authorization": "Api-Key 0123456789ab." + "x" * 43}
    answers = [APIClient().get("/closed/", headers=wrong) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert answers[0].headers["RateLimit-Remaining"] == "1"
    assert answers[2].json()["code"] == "throttled"


def test_a_throttled_request_does_not_count(stranger):
    for _ in range(20):
        logged_in(stranger).get("/open/")
    assert (RequestRate.objects.get().used_until - timezone.now()).total_seconds() <= 60


def test_the_allowance_refills_with_time(stranger):
    for _ in range(5):
        logged_in(stranger).get("/open/")
    row = RequestRate.objects.get()
    row.used_until -= timezone.timedelta(seconds=16)
    row.save()
    assert [logged_in(stranger).get("/open/").status_code for _ in range(2)] == [200, 429]


def test_each_caller_has_their_own_allowance(stranger, django_user_model):
    other = django_user_model.objects.create_user("other")
    for _ in range(4):
        logged_in(stranger).get("/open/")
    assert logged_in(other).get("/open/").headers["RateLimit-Remaining"] == "3"


def test_an_anonymous_caller_is_counted_by_address():
    assert [APIClient().get("/open/").status_code for _ in range(3)] == [200, 200, 429]
    assert APIClient(REMOTE_ADDR="10.0.0.9").get("/open/").status_code == 200


def test_a_rate_of_zero_is_no_limit(stranger, settings):
    settings.API_RATE_PER_MINUTE = 0
    assert "RateLimit-Limit" not in logged_in(stranger).get("/open/").headers


def test_rows_of_full_allowances_are_purged(stranger):
    logged_in(stranger).get("/open/")
    RequestRate.objects.update(used_until=timezone.now() - timezone.timedelta(hours=1))
    throttling.purge()
    assert not RequestRate.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_are_counted_exactly(stranger, settings):
    settings.API_RATE_PER_MINUTE = 10
    start = threading.Barrier(16)
    statuses: list[int] = []

    def ask() -> None:
        try:
            client = logged_in(stranger)
            start.wait(timeout=20)
            statuses.append(client.get("/open/").status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 10 + [429] * 6

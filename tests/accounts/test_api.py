"""Logging in and out by the API."""

import threading
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from accounts.credentials.tokens import purge
from tests.conftest import as_user

PASSWORD = "a long password 1"


def post(path: str, **body: Any) -> Any:
    return as_user().post(f"/api/v1/auth/{path}", body, format="json")


def me_with(token: str) -> Any:
    return as_user().get("/api/v1/auth/me/", headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def tokens(member):
    return post("token/", username="member", password=PASSWORD).json()


def test_a_login_returns_tokens_that_work(tokens):
    assert set(tokens) == {"access", "refresh"}
    answer = me_with(tokens["access"])
    assert (answer.status_code, answer.json()["username"]) == (200, "member")


@pytest.mark.parametrize(("username", "password"), [("member", "wrong"), ("nobody", PASSWORD)])
def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(member, username, password):
    answer = post("token/", username=username, password=password)
    assert answer.status_code == 401
    assert answer.json()["code"] == "wrong_credentials"


@pytest.mark.parametrize(
    "body",
    [{}, {"username": "member"}, {"username": "a\x00b", "password": "x"}, {"username": 5, "password": "x"}, []],
)
def test_a_malformed_login_is_a_bad_request(member, body):
    answer = as_user().post("/api/v1/auth/token/", body, format="json")
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid"
    assert answer.json()["fields"]


def test_a_refresh_token_works_once(tokens):
    again = post("token/refresh/", refresh=tokens["refresh"])
    assert again.status_code == 200
    assert post("token/refresh/", refresh=tokens["refresh"]).status_code == 401
    assert post("token/refresh/", refresh=again.json()["refresh"]).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_refresh_token_used_concurrently_works_once(member):
    refresh = str(RefreshToken.for_user(member))
    start = threading.Barrier(6)
    answers: list[int] = []

    def renew() -> None:
        start.wait()
        try:
            answers.append(post("token/refresh/", refresh=refresh).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=renew) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 401, 401, 401, 401, 401]


@pytest.mark.django_db(transaction=True)  # within a test's own transaction a lock taken outside of any is not noticed
def test_a_logout_revokes_the_refresh_token(tokens):
    assert post("logout/", refresh=tokens["refresh"]).status_code == 204
    assert post("logout/", refresh=tokens["refresh"]).status_code == 204
    assert post("token/refresh/", refresh=tokens["refresh"]).status_code == 401
    assert post("token/verify/", token=tokens["refresh"]).status_code == 401


def test_expired_refresh_tokens_are_deleted(member, tokens):
    post("token/refresh/", refresh=tokens["refresh"])  # which leaves one used up and a new one
    oldest = OutstandingToken.objects.order_by("id").first()
    OutstandingToken.objects.filter(pk=oldest.pk).update(expires_at=timezone.now() - timedelta(days=1))
    purge()
    assert OutstandingToken.objects.count() == 1
    assert not BlacklistedToken.objects.exists()


def test_verify_accepts_valid_tokens_only(tokens):
    assert post("token/verify/", token=tokens["access"]).status_code == 200
    assert post("token/verify/", token=tokens["refresh"]).status_code == 200
    assert post("token/verify/", token=tokens["access"][:-2]).status_code == 401


def forged(member: Any, *, key: str = settings.ADMIN_TOKEN_SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    payload = AccessToken.for_user(member).payload | {"iss": "whatsapp-agent", "aud": "whatsapp-agent-api"}
    return jwt.encode(payload | changes, key, algorithm=algorithm)


def test_an_unchanged_forged_token_works(member):
    assert me_with(forged(member)).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1_700_000_000},
        {"iss": "someone-else"},
        {"aud": "another-api"},
        {"key": "a foreign key that is long enough for HS256"},
        {"key": settings.SECRET_KEY},
        {"key": "", "algorithm": "none"},
        {"token_type": "refresh"},
        {"user_id": "0190b3f0-0000-7000-8000-000000000000"},
        {"user_id": "1 OR 1=1"},
        {"user_id": None},
        {"hash_password": "another"},
    ],
    ids=str,
)
def test_an_expired_foreign_or_tampered_token_is_refused(member, changes):
    answer = me_with(forged(member, **changes))
    assert answer.status_code == 401
    assert answer.json()["code"]
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_cached_token_expires(member, monkeypatch):
    token = forged(member)
    assert me_with(token).status_code == 200
    half_an_hour_later = timezone.now() + timedelta(minutes=30, seconds=1)
    monkeypatch.setattr(timezone, "now", lambda: half_an_hour_later)
    assert me_with(token).status_code == 401


def test_a_session_cookie_of_the_admin_does_not_authenticate_at_the_api(admin, client):
    client.force_login(admin)
    answer = client.get("/api/v1/auth/me/")
    assert answer.status_code == 401
    assert not answer.cookies


def test_a_token_that_expires_beyond_the_calendar_is_refused(member):
    assert me_with(forged(member, exp=10**30)).status_code == 401


@pytest.mark.parametrize("header", ["Bearer", "Bearer a b", "Bearer \xff", "Basic bWVtYmVyOng=", "nonsense"])
def test_a_malformed_authorization_header_is_refused(member, header):
    assert as_user().get("/api/v1/auth/me/", headers={"Authorization": header}).status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer ", "Bearer\t"])
def test_the_scheme_of_a_token_may_be_written_in_any_case(member, scheme):
    header = f"{scheme} {forged(member)}"
    assert as_user().get("/api/v1/auth/me/", headers={"Authorization": header}).status_code == 200


def test_the_tokens_of_a_deactivated_user_stop_working(member, tokens):
    member.is_active = False
    member.save()
    assert me_with(tokens["access"]).status_code == 401
    assert post("token/refresh/", refresh=tokens["refresh"]).status_code == 401
    assert post("token/", username="member", password=PASSWORD).status_code == 401


def test_the_tokens_of_a_deleted_user_stop_working(member, tokens):
    member.delete()
    assert me_with(tokens["access"]).status_code == 401
    assert post("token/refresh/", refresh=tokens["refresh"]).status_code == 401


def test_a_changed_password_revokes_earlier_tokens(member, tokens):
    change = {"current_password": PASSWORD, "new_password": "another long password 2"}
    answer = as_user(member).patch("/api/v1/auth/me/", change, format="json")
    assert answer.status_code == 200
    assert me_with(tokens["access"]).status_code == 401
    assert post("token/refresh/", refresh=tokens["refresh"]).status_code == 401
    assert me_with(answer.json()["access"]).status_code == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"current_password": "wrong", "new_password": "another long password 2"}, "current_password"),
        ({"current_password": PASSWORD, "new_password": "12345"}, "new_password"),
        ({"current_password": PASSWORD, "new_password": "member1"}, "new_password"),
        ({"new_password": "another long password 2"}, "current_password"),
    ],
)
def test_a_password_change_needs_the_current_and_a_good_new_password(member, change, field):
    answer = as_user(member).patch("/api/v1/auth/me/", change, format="json")
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])
    member.refresh_from_db()
    assert member.check_password(PASSWORD)


@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer x", "Bearer", "Bearer a b", "bearer x", "Api-Key x.y", "Api-Key", "Basic YTpi", "Bearer \xe9"],
)
def test_every_401_names_bearer_and_invalid_credentials(db, authorization):
    client = as_user()
    if authorization:
        client.credentials(HTTP_AUTHORIZATION=authorization)
    for answer in (
        client.get("/api/v1/auth/me/"),
        client.post("/api/v1/auth/token/", {"username": "a", "password": "b"}, format="json"),
        client.post("/api/v1/auth/token/refresh/", {"refresh": "x"}, format="json"),
        client.post("/api/v1/auth/token/verify/", {"token": "x"}, format="json"),
        client.post("/api/v1/auth/logout/", {"refresh": "x"}, format="json"),
    ):
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json()["detail"] == "Invalid authentication credentials"


@pytest.mark.parametrize(("ahead_s", "status"), [(1, 200), (20, 200), (600, 401)])
def test_a_token_from_a_clock_slightly_ahead_is_valid(member, ahead_s, status):
    token = RefreshToken.for_user(member).access_token
    token.set_iat(at_time=timezone.now() + timedelta(seconds=ahead_s))
    assert me_with(str(token)).status_code == status
    assert post("token/verify/", token=str(token)).status_code == status


def test_an_expired_token_is_refused_without_leeway(member):
    token = RefreshToken.for_user(member).access_token
    token.set_exp(from_time=timezone.now() - timedelta(seconds=1), lifetime=timedelta(0))
    assert me_with(str(token)).status_code == 401
    assert post("token/verify/", token=str(token)).status_code == 401

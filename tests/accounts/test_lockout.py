"""Guessing passwords: five wrong ones, then a wait."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.credentials import lockout
from accounts.models import LoginFailures
from tests.conftest import as_user

PASSWORD = "a long password 1"


def log_in(password, *, username="member", address="10.0.0.1"):
    body = {"username": username, "password": password}
    return as_user().post("/api/v1/auth/token/", body, format="json", REMOTE_ADDR=address)


def guess(times, **where):
    return [log_in("wrong", **where).status_code for _ in range(times)]


def test_five_failures_lock_out_the_right_password_too(member):
    assert guess(5) == [401] * 5
    answer = log_in(PASSWORD)
    assert (answer.status_code, answer.json()["code"]) == (429, "locked_out")
    assert 890 <= int(answer.headers["Retry-After"]) <= 900


def test_an_unknown_name_is_locked_out_as_well(db):
    assert guess(6, username="nobody") == [401] * 5 + [429]


def test_a_name_in_another_case_is_locked_out(member):
    guess(5)
    assert guess(1, username="MEMBER") == [429]


def test_another_address_and_another_name_are_not_locked(member, admin):
    guess(5)
    assert log_in(PASSWORD, address="10.0.0.2").status_code == 200
    assert log_in(PASSWORD, username="admin").status_code == 200


def test_a_lockout_ends_after_a_quarter_of_an_hour(member):
    guess(6)
    LoginFailures.objects.update(began_at=timezone.now() - timedelta(minutes=15, seconds=1))
    assert log_in(PASSWORD).status_code == 200


def test_a_login_resets_the_failures(member):
    guess(4)
    assert log_in(PASSWORD).status_code == 200
    assert guess(5) == [401] * 5


def test_a_lockout_at_the_api_holds_in_the_admin(admin, uncollected):
    guess(5, username="admin", address="127.0.0.1")
    answer = Client().post("/admin/login/", {"username": "admin", "password": PASSWORD})
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0


def test_a_lockout_in_the_admin_holds_at_the_api(admin, uncollected):
    for _ in range(5):
        assert Client().post("/admin/login/", {"username": "admin", "password": "wrong"}).status_code == 200
    assert log_in(PASSWORD, username="admin", address="127.0.0.1").status_code == 429


def test_a_token_does_not_allow_guessing_the_password(member):
    client = as_user(member)
    change = {"current_password": "wrong", "new_password": "another long password 2"}
    answers = [client.patch("/api/v1/auth/me/", change, format="json").status_code for _ in range(6)]
    assert answers == [400] * 5 + [429]


@pytest.mark.django_db(transaction=True)
def test_of_concurrent_guesses_five_are_checked(member):
    start = threading.Barrier(12)
    answers: list[int] = []

    def attempt() -> None:
        start.wait()
        try:
            answers.extend(guess(1))
        finally:
            connection.close()

    threads = [threading.Thread(target=attempt) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [401] * 5 + [429] * 7


def test_the_lockout_uses_the_address_that_the_proxy_reports(member, settings):
    settings.HTTPS, settings.SECURE_SSL_REDIRECT = True, False

    def log_in_from(forwarded):
        body = {"username": "member", "password": "wrong"}
        headers = {"X-Forwarded-For": forwarded, "X-Forwarded-Proto": "https"}
        return as_user().post("/api/v1/auth/token/", body, format="json", headers=headers).status_code

    assert [log_in_from(f"made up {number}, 203.0.113.7") for number in range(6)] == [401] * 5 + [429]
    assert log_in_from("203.0.113.7, 203.0.113.8") == 401


def test_old_failures_are_purged(member):
    guess(1)
    LoginFailures.objects.update(began_at=timezone.now() - timedelta(hours=1))
    lockout.purge()
    assert not LoginFailures.objects.exists()

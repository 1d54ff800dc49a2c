"""A first start with DATABASE_URL and the settings that it needs: what is missing is generated or explained."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.application import ROOT, Application
from tests.support.operators import postgres_server

SETTINGS = {"ADMIN_PASSWORD": "", "WHATSAPP_WEBHOOK_SECRET": "", "WHATSAPP_API_URL": "http://127.0.0.1:9"}
PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty database on a server that the application does not manage."""
    with postgres_server(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(scope="module")
def first_start(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    data_dir = tmp_path_factory.mktemp("data")
    with Application(data_dir, DATABASE_URL=database_url, WEB_PROCESSES=1, **SETTINGS) as application:
        yield application


def manage(application: Application, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT, env=application.environment | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def log_in(application: Application, username: str) -> int:
    body = {"username": username, "password": PASSWORD}
    return httpx.post(f"{application.url}/api/v1/auth/token/", json=body, trust_env=False).status_code


def test_the_first_start_without_a_password_explains_how_to_create_the_first_user(first_start: Application) -> None:
    greeting = first_start.wait_for_output("which creates admin")
    assert "Log in as  nobody yet: create the first user with manage.py createsuperuser" in greeting
    assert "ADMIN_PASSWORD" in greeting
    assert "Traceback" not in greeting
    assert not (Path(first_start.data_dir) / "postgres").exists()


def test_nothing_is_generated_into_a_file_when_the_database_is_elsewhere(first_start: Application) -> None:
    assert not (first_start.data_dir / "secrets.env").exists()


def test_the_generated_webhook_secret_is_shown_by_doctor_and_works(first_start: Application) -> None:
    report = manage(first_start, "doctor")
    found = re.search(r"/api/v1/webhooks/default/[-\w]{20,}", report)
    assert found, report
    url = f"{first_start.url}{found[0]}"
    statuses = [httpx.post(address, json={}, trust_env=False).status_code for address in (url, f"{url}x")]
    assert statuses == [200, 401]


def test_the_user_made_as_the_start_explains_can_log_in_and_the_next_start_finds_it(
    first_start: Application, database_url: str, tmp_path: Path
) -> None:
    assert log_in(first_start, "ana") == 401
    given = {"DJANGO_SUPERUSER_USERNAME": "ana", "DJANGO_SUPERUSER_PASSWORD": PASSWORD, "DJANGO_SUPERUSER_EMAIL": ""}
    manage(first_start, "createsuperuser", "--noinput", **given)
    assert log_in(first_start, "ana") == 200
    with Application(tmp_path, DATABASE_URL=database_url, WEB_PROCESSES=1, **SETTINGS) as second:
        assert "Log in as  a user you created with manage.py createsuperuser" in second.wait_for_output("Log in as")
        assert log_in(second, "ana") == 200

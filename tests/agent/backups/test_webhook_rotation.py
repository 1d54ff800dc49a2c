"""`manage.py rotate_secrets --webhooks`: the bridge is told its new address, and no message is refused meanwhile."""

import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from agent.backups.rotation import rotate_webhook_secret
from sessions_app.bridges import FORMER_SECRET_TTL
from sessions_app.models import Bridge, WhatsAppSession
from sessions_app.services import ensure_default_bridges
from tests.support.bridges.fake_waha import FakeWaha

pytestmark = pytest.mark.django_db
PUBLIC_URL = "https://agent.example"


@pytest.fixture(autouse=True)
def secrets_file(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where secrets.env of this installation would be; the secrets of these tests come from the environment."""
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(settings.ENVIRONMENT, "source", lambda _: "the environment")
    return tmp_path / "secrets.env"


@pytest.fixture
def waha(session: WhatsAppSession, settings: Any) -> Iterator[FakeWaha]:
    """A WAHA with one number, and the bridge `second` that leads to it, whose secret stands in its row."""
    settings.PUBLIC_URL = PUBLIC_URL
    with FakeWaha() as fake:
        row = Bridge.objects.create(
            slug="second", kind="waha", base_url=fake.url, api_key=fake.api_key, webhook_secret="the-secret"
        )
        fake.add_session(session.name, phone="5511999990000")
        WhatsAppSession.objects.filter(pk=session.pk).update(bridge=row)
        yield fake


@pytest.fixture
def second(waha: FakeWaha) -> Bridge:
    return Bridge.objects.get(slug="second")


def command(*arguments: str) -> str:
    out = io.StringIO()
    call_command("rotate_secrets", "--webhooks", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def post(path: str) -> int:
    return Client().post(path, "{}", content_type="application/json").status_code


def is_let_in(path: str) -> bool:
    return post(path) not in {401, 404}


def told_address(waha: FakeWaha) -> str:
    return str(waha.sessions["sales"]["config"]["webhooks"][0]["url"])


def test_a_bridge_receives_its_new_address_and_the_former_is_accepted_for_a_day(waha, second):
    former = second.webhook_path
    assert is_let_in(former)
    printed = command("--bridge", "second")
    second.refresh_from_db()
    assert second.webhook_path != former
    assert told_address(waha) == f"{PUBLIC_URL}{second.webhook_path}"
    assert "sales: events now come to this server." in printed
    assert [is_let_in(former), is_let_in(second.webhook_path)] == [True, True]
    Bridge.objects.filter(pk=second.pk).update(former_webhook_secret_until=timezone.now())
    assert [is_let_in(former), is_let_in(second.webhook_path)] == [False, True]


def test_a_former_address_is_accepted_no_longer_once_the_rotation_is_finished(waha, second):
    former = second.webhook_path
    command("--bridge", "second")
    assert "is accepted no longer" in command("--bridge", "second", "--finish")
    second.refresh_from_db()
    assert [is_let_in(former), is_let_in(second.webhook_path)] == [False, True]


def test_a_rotation_whose_bridge_was_down_goes_on_when_it_is_run_again(waha, second):
    former = second.webhook_path
    Bridge.objects.filter(pk=second.pk).update(base_url="http://127.0.0.1:9")
    with pytest.raises(CommandError, match=r"Not told the new address: second\. The former is accepted"):
        command("--bridge", "second")
    Bridge.objects.filter(pk=second.pk).update(base_url=waha.url)
    present = Bridge.objects.get(slug="second").webhook_path
    assert "was given a new webhook address before" in command("--bridge", "second")
    assert Bridge.objects.get(slug="second").webhook_path == present
    assert told_address(waha) == f"{PUBLIC_URL}{present}"
    assert is_let_in(former)


def test_a_dry_run_changes_no_address(waha, second):
    secrets = set(Bridge.objects.values_list("pk", "webhook_secret"))
    printed = command("--dry-run")
    assert "second: it would get a new webhook address." in printed
    assert "default: its secret is WHATSAPP_WEBHOOK_SECRET of the environment, and would stay." in printed
    assert set(Bridge.objects.values_list("pk", "webhook_secret")) == secrets


def test_an_address_that_cannot_be_set_at_a_bridge_is_printed(bridge, settings):
    settings.WHATSAPP_WEBHOOK_SECRET, settings.PUBLIC_URL = "", PUBLIC_URL
    lines = list(rotate_webhook_secret(bridge))
    present = Bridge.objects.get(slug="default").webhook_path
    assert f"Configure there: {PUBLIC_URL}{present}" in lines[-1]
    settings.PUBLIC_URL = ""
    assert list(rotate_webhook_secret(bridge))[-1].endswith(present)


def test_a_secret_of_the_environment_is_changed_there_and_the_former_is_accepted_for_a_day(bridge, settings):
    former = bridge.webhook_path
    (line,) = rotate_webhook_secret(bridge)
    assert "WHATSAPP_WEBHOOK_SECRET of the environment" in line
    settings.WHATSAPP_WEBHOOK_SECRET = "another-secret-of-the-environment"
    ensure_default_bridges()  # the next start
    ensure_default_bridges()
    present = Bridge.objects.get(slug="default")
    assert [is_let_in(former), is_let_in(present.webhook_path)] == [True, True]
    assert present.former_webhook_secret_until - timezone.now() < FORMER_SECRET_TTL
    assert present.former_webhook_secret_until - timezone.now() > FORMER_SECRET_TTL - timedelta(minutes=5)


@pytest.mark.parametrize("dies", [False, True])
def test_a_generated_secret_is_the_same_in_its_file_and_in_its_row_after_the_next_start(
    bridge, settings, secrets_file, monkeypatch, dies
):
    former = bridge.webhook_path
    secrets_file.write_text(f"WHATSAPP_WEBHOOK_SECRET={settings.WHATSAPP_WEBHOOK_SECRET}\n")
    monkeypatch.setattr(settings.ENVIRONMENT, "source", lambda _: str(secrets_file))
    if dies:  # between the file and the row

        def die(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Bridge, "save", die)
            with pytest.raises(KeyboardInterrupt):
                list(rotate_webhook_secret(bridge))
        assert is_let_in(former)
    else:
        list(rotate_webhook_secret(bridge))
    settings.WHATSAPP_WEBHOOK_SECRET = secrets_file.read_text().strip().partition("=")[2]
    ensure_default_bridges()
    present = Bridge.objects.get(slug="default")
    assert present.webhook_secret == settings.WHATSAPP_WEBHOOK_SECRET
    assert present.webhook_path != former
    assert [is_let_in(former), is_let_in(present.webhook_path)] == [True, True]


def test_the_simulator_gets_a_secret_of_which_nobody_knows_the_former(simulator):
    former = simulator.webhook_path
    assert list(rotate_webhook_secret(simulator)) == ["simulator: it has a new secret."]
    assert not is_let_in(former)


@pytest.mark.parametrize("until", [None, timedelta(seconds=-1)])
def test_a_stranger_does_not_get_in_by_an_empty_former_secret(bridge, until):
    Bridge.objects.filter(pk=bridge.pk).update(
        former_webhook_secret="", former_webhook_secret_until=until and timezone.now() + until
    )
    assert not is_let_in("/api/v1/webhooks/default//")
    assert not is_let_in("/api/v1/webhooks/default/")
    assert not is_let_in("/api/v1/webhooks/default/wrong/")

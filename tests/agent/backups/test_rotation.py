"""`manage.py rotate_secrets`: at every step, everything that was encrypted can be read."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from agent.backups import key_holders
from agent.backups.rotation import check_key_holders, encrypt_again, encrypted_columns
from agent.models import KeyHolder
from sessions_app.models import Bridge
from tests.support.application import ROOT, SECRETS
from tests.support.operators import installation, manage
from whatsapp_agent.errors import Conflict
from whatsapp_agent.storage import encryption

NEW_KEY = "a-new-key-" * 5


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, prepared_data: Path) -> Path:
    return installation(tmp_path_factory.mktemp("rotated"), prepared_data, messages=20)


def test_secret_key_is_replaced_step_by_step(data_dir):
    assert "No rotation is under way" in manage(data_dir, "rotate_secrets", "--finish").stderr
    done = manage(data_dir, "rotate_secrets")
    assert done.returncode == 0, done.stderr
    stored = (data_dir / "secrets.env").read_text()
    assert f"SECRET_KEY_FALLBACKS={SECRETS['SECRET_KEY']}\n" in stored
    assert f"SECRET_KEY={SECRETS['SECRET_KEY']}\n" not in stored
    assert (data_dir / "secrets.env").stat().st_mode & 0o777 == 0o600
    assert "is under way" in manage(data_dir, "rotate_secrets").stderr
    assert "still encrypted with an earlier key" in manage(data_dir, "rotate_secrets", "--finish").stderr
    assert manage(data_dir, "stats").returncode == 0
    assert " 0 values" not in manage(data_dir, "rotate_secrets", "--dry-run").stdout
    assert manage(data_dir, "rotate_secrets", "--encrypt").returncode == 0
    assert manage(data_dir, "rotate_secrets", "--finish").returncode == 0
    assert SECRETS["SECRET_KEY"] not in (data_dir / "secrets.env").read_text()
    assert manage(data_dir, "rotate_secrets", "--dry-run").stdout.startswith("0 values")


def test_a_key_of_the_environment_is_left_to_who_has_set_it(data_dir):
    done = manage(data_dir, "rotate_secrets", SECRET_KEY="k" * 50)
    assert (done.returncode, "is set by the environment" in done.stderr) == (1, True)


def test_the_key_of_tokens_is_replaced_and_a_dry_run_replaces_nothing(data_dir):
    stored = (data_dir / "secrets.env").read_text()
    assert "would end" in manage(data_dir, "rotate_secrets", "--tokens", "--dry-run").stdout
    assert (data_dir / "secrets.env").read_text() == stored
    done = manage(data_dir, "rotate_secrets", "--tokens")
    assert (done.returncode, "logs in again" in done.stdout) == (0, True), done.stderr
    former = f"ADMIN_TOKEN_SECRET={SECRETS['ADMIN_TOKEN_SECRET']}"
    assert (former in stored, former in (data_dir / "secrets.env").read_text()) == (True, False)
    refused = manage(data_dir, "rotate_secrets", "--tokens", ADMIN_TOKEN_SECRET="k" * 50)
    assert (refused.returncode, "is set by the environment" in refused.stderr) == (1, True)


@pytest.mark.django_db
def test_what_an_earlier_key_has_encrypted_is_read_and_encrypted_again(bridges, settings):
    bridge = Bridge.objects.get(slug="default")
    secret, old = bridge.webhook_secret, settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW_KEY, [old]
    assert Bridge.objects.get(slug="default").webhook_secret == secret
    steps = encrypt_again()
    next(steps)
    steps.close()  # killed in the middle
    assert len(list(encrypt_again())) >= 1
    settings.SECRET_KEY_FALLBACKS = []
    assert Bridge.objects.get(slug="default").webhook_secret == secret
    assert list(encrypt_again()) == []


@pytest.fixture
def holder(transactional_db, bridges, settings) -> Iterator[KeyHolder]:
    """A living web process that was started before SECRET_KEY was replaced."""
    key_holders.start("web")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW_KEY, [settings.SECRET_KEY]
    yield KeyHolder.objects.get(pid=os.getpid())
    key_holders.stop()


@pytest.mark.parametrize("step", ["--encrypt", "--finish"])
def test_a_process_with_the_former_key_holds_up_the_rotation_until_it_is_restarted(holder, step):
    before = list(Bridge.objects.values_list("slug", "webhook_secret"))
    with pytest.raises(Conflict, match=f"web process {holder.pid} on .*Restart them"):
        check_key_holders()
    with pytest.raises(CommandError, match="Still running with another SECRET_KEY"):
        call_command("rotate_secrets", step)
    assert not any(encryption.is_current(secret) for secret in stored_secrets())

    key_holders.start("web")  # restarted
    holder.delete()
    check_key_holders()
    assert list(Bridge.objects.values_list("slug", "webhook_secret")) == before


def test_force_encrypts_although_a_process_has_the_former_key(holder):
    call_command("rotate_secrets", "--encrypt", "--force", stdout=io.StringIO(), stderr=io.StringIO())
    assert all(encryption.is_current(secret) for secret in stored_secrets())


def test_a_process_that_died_holds_up_no_rotation_and_its_row_goes(holder):
    KeyHolder.objects.update(seen_at=timezone.now() - timedelta(hours=1))
    check_key_holders()
    key_holders.delete_dead()
    assert not KeyHolder.objects.exists()


def test_a_process_that_ends_in_order_deletes_its_row_and_no_row_shows_the_key(holder, settings):
    (former,) = settings.SECRET_KEY_FALLBACKS
    assert holder.key_id not in former
    assert former not in holder.key_id
    key_holders.stop()
    assert not KeyHolder.objects.exists()


def test_force_without_a_step_of_secret_key_is_refused(db):
    for options in (["--force"], ["--force", "--webhooks"], ["--force", "--tokens"]):
        with pytest.raises(CommandError, match="--force goes with"):
            call_command("rotate_secrets", *options)


def stored_secrets() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT webhook_secret FROM sessions_app_bridge WHERE webhook_secret <> ''")
        return [row[0] for row in cursor.fetchall()]


def test_every_encrypted_column_is_encrypted_again():
    assert {f"{model._meta.label}.{name}" for model, name in encrypted_columns()} == {
        "sessions_app.Bridge.api_key", "sessions_app.Bridge.webhook_secret", "sessions_app.Bridge.signing_key",
        "sessions_app.Bridge.verify_token", "sessions_app.Bridge.former_webhook_secret",
        "messaging.WebhookEndpoint.secret", "agent.PushSender.private_key",
        "messaging.WebhookEndpoint.former_secret", "accounts.IdempotentRequest.answer",
    }  # fmt: skip


def test_tail_ends_with_ctrl_c_and_prints_where_to_go_on(data_dir):
    own = {name: value for name, value in os.environ.items() if name not in {*SECRETS, "DATABASE_URL"}}
    process = subprocess.Popen(
        [sys.executable, "manage.py", "tail", "--after", "all", "--json"],
        cwd=ROOT, env=own | {"DATA_DIR": str(data_dir)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert '"cursor":"' in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Go on with --after " in errors
    assert "Traceback" not in errors

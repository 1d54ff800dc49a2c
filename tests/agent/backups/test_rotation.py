"""`manage.py rotate_secrets`: at every step, everything that was encrypted can be read."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent.backups.rotation import encrypt_again, encrypted_columns
from sessions_app.models import Bridge
from tests.support.application import ROOT, SECRETS
from tests.support.operators import installation, manage

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


def test_every_encrypted_column_is_encrypted_again():
    assert {f"{model._meta.label}.{name}" for model, name in encrypted_columns()} == {
        "sessions_app.Bridge.api_key", "sessions_app.Bridge.webhook_secret", "sessions_app.Bridge.signing_key",
        "sessions_app.Bridge.verify_token", "sessions_app.Bridge.former_webhook_secret",
        "messaging.WebhookEndpoint.secret",
        "messaging.WebhookEndpoint.former_secret", "accounts.IdempotentRequest.answer",
    }  # fmt: skip


def test_tail_ends_with_ctrl_c_and_prints_where_to_go_on(data_dir):
    own = {name: value for name, value in os.environ.items() if name not in {*SECRETS, "DATABASE_URL"}}
    process = subprocess.Popen(
        [sys.executable, "manage.py", "tail", "--after", "all", "--json"],
        cwd=ROOT, env=own | {"DATA_DIR": str(data_dir)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert '"cursor":"' in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Go on with --after " in errors
    assert "Traceback" not in errors

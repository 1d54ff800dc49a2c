"""`manage.py backup` and `restore`: whole or not at all, on another DATA_DIR and on an external PostgreSQL."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from agent.backups.restore import MARK_MISSING_FILES
from tests.support.application import ROOT, SECRETS, open_to_all
from tests.support.operators import installation, manage, postgres_server, received


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, prepared_data: Path) -> Path:
    """An installation with messages, one file and secrets of its own."""
    return installation(tmp_path_factory.mktemp("source"), prepared_data, messages=300)


@pytest.fixture(scope="module")
def backup(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backup") / "agent.backup"
    done = manage(source, "backup", path)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    data_dir = open_to_all(tmp_path) / "restored"
    data_dir.mkdir(mode=0o755)
    return data_dir


def test_a_backup_restores_into_another_data_dir(source: Path, backup: Path, empty: Path) -> None:
    done = manage(empty, "restore", backup)
    assert done.returncode == 0, done.stderr
    assert received(empty) == received(source)
    assert (empty / "media" / "2026" / "11" / "photo.png").read_bytes() == b"a photo"
    assert SECRETS["SECRET_KEY"] in (empty / "secrets.env").read_text()
    assert not list(empty.glob("restore-*"))
    again = manage(empty, "restore", backup)
    assert again.returncode == 1
    assert "holds an installation already" in again.stderr


def impatient(data_dir: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a management command that reports its progress all the time, and not once a second."""
    program = (
        "import sys, manage, whatsapp_agent.terminal as terminal\n"
        f"terminal.PROGRESS_INTERVAL_S = 0\nsys.argv = {['manage.py', *map(str, arguments)]!r}\nmanage.main()"
    )
    own = {name: value for name, value in os.environ.items() if name not in {*SECRETS, "DATABASE_URL"}}
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=own | {"DATA_DIR": str(data_dir)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def test_a_backup_and_a_restore_report_how_far_they_are(source: Path, empty: Path, tmp_path: Path) -> None:
    path = tmp_path / "reported.backup"
    made = impatient(source, "backup", path, "--json")
    assert made.returncode == 0, made.stderr
    assert re.search(r"^\d+ MB of the database \.\.\.$", made.stderr, re.MULTILINE)
    assert "3 parts ..." in made.stderr.splitlines()
    assert json.loads(made.stdout)["media_files"] == 1

    done = impatient(empty, "restore", path)
    assert done.returncode == 0, done.stderr
    for expected in (r"\d+ MB verified", r"\d+ MB of the database"):
        assert re.search(rf"^{expected} \.\.\.$", done.stderr, re.MULTILINE), done.stderr
    assert done.stdout.splitlines()[-1].startswith("Restored in ")


# Runs `backup`; when it begins to copy the files, one is deleted and another comes.
CHANGED_MEANWHILE = """
import sys
from pathlib import Path
month = Path(sys.argv.pop(1))
def change(event, arguments):
    if event == "os.scandir" and arguments[0] == str(month.parents[1]) and (month / "photo.png").exists():
        (month / "photo.png").unlink()
        (month / "late.png").write_bytes(b"late")
sys.addaudithook(change)
import manage
manage.main()
"""
FILES = """
from messaging.models import Media, Message
first, second, third = Message.objects.order_by("id")[:3]
Media.objects.create(message=first, file="2026/11/photo.png", preview="2026/11/photo.preview.png", status="ready")
Media.objects.create(message=second, file="2026/11/other.png", preview="2026/11/gone.preview.png", status="ready")
Media.objects.create(message=third, status="failed", error_code="not_in_backup")  # by an earlier restore
"""
WHAT_FILES = """
import json
from messaging.models import Media
print(json.dumps(list(Media.objects.order_by("message").values_list("file", "preview", "status", "error_code"))))
"""


def test_a_file_that_is_deleted_while_the_backup_is_made_is_marked_as_missing(
    prepared_data: Path, empty: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = installation(tmp_path_factory.mktemp("changing"), prepared_data, messages=20)
    month, path = source / "media" / "2026" / "11", tmp_path / "changing.backup"
    (month / "photo.preview.png").write_bytes(b"small")
    (month / "other.png").write_bytes(b"other")
    assert manage(source, "shell", "--no-imports", "-c", FILES).returncode == 0
    own = {name: value for name, value in os.environ.items() if name not in {*SECRETS, "DATABASE_URL"}}
    made = subprocess.run(
        [sys.executable, "-c", CHANGED_MEANWHILE, str(month), "backup", str(path)],
        cwd=ROOT, env=own | {"DATA_DIR": str(source)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert (month / "late.png").exists(), "nothing was changed while the backup was made"

    done = manage(empty, "restore", path, "--json")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["restored"], result["missing_media"], result["file"]) == (True, 1, str(path))
    rows = json.loads(manage(empty, "shell", "--no-imports", "-c", WHAT_FILES).stdout.splitlines()[-1])
    assert rows == [
        ["", "", "failed", "not_in_backup"],
        ["2026/11/other.png", "", "ready", ""],
        ["", "", "failed", "not_in_backup"],
    ]
    assert {path.name for path in (empty / "media" / "2026" / "11").iterdir()} == {
        "late.png", "other.png", "photo.preview.png",
    }  # fmt: skip


@pytest.mark.django_db
def test_the_files_of_many_media_are_looked_for_by_a_join() -> None:
    statements = re.findall(r"UPDATE .*?(?=\s+RETURNING|;)", MARK_MISSING_FILES, re.DOTALL)
    assert len(statements) == 2
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64kB'")  # the names fill it
        cursor.execute("CREATE TEMP TABLE stored_file AS SELECT md5(n::text) AS name FROM generate_series(1, 5000) n")
        for statement in statements:
            cursor.execute(f"EXPLAIN {statement}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Anti Join" in plan
            assert "SubPlan" not in plan


def test_an_encrypted_backup_restores_only_with_its_passphrase(source: Path, empty: Path, tmp_path: Path) -> None:
    path, right, wrong = tmp_path / "agent.sealed", tmp_path / "right", tmp_path / "wrong"
    right.write_text("open sesame\n")
    wrong.write_text("close sesame\n")
    assert manage(source, "backup", path, "--passphrase-file", right).returncode == 0
    assert SECRETS["SECRET_KEY"].encode() not in path.read_bytes()
    assert "is encrypted" in manage(empty, "restore", path, "--dry-run").stderr
    assert "passphrase is wrong" in manage(empty, "restore", path, "--dry-run", "--passphrase-file", wrong).stderr
    done = manage(empty, "restore", path, "--passphrase-file", right)
    assert done.returncode == 0, done.stderr
    assert received(empty) == received(source)


# Three conversations: what waits came long ago, just now, and both.
WAITING = """
from datetime import timedelta
from django.utils import timezone
from messaging.models import Conversation, Message
now = timezone.now()
Message.objects.filter(status="received").update(status="handled")
Conversation.objects.update(due_at=None, burst_started_at=None, control="agent")
for ages, conversation in zip([["2h"], [""], ["2h", ""]], Conversation.objects.order_by("id")[:3]):
    for age in ages:
        Message.objects.create(
            session=conversation.session, conversation=conversation, direction="inbound", author="contact",
            status="received", text=f"waits {age}", said_at=now - timedelta(hours=2 if age else 0)
        )
    Conversation.objects.filter(pk=conversation.pk).update(due_at=now, burst_started_at=now)
conversation.session.agent_profile.__class__.objects.update(max_answer_age_s=3600)
"""
WHAT_WAITS = """
import json
from messaging.models import Conversation, Message
print(json.dumps([
    [row.due_at is not None, row.burst_started_at is not None, list(
        row.messages.filter(text__startswith="waits").order_by("said_at").values_list("status", "unanswered")
    )]
    for row in Conversation.objects.order_by("id")[:3]
]))
"""


def test_what_has_waited_for_too_long_is_not_answered_after_a_restore(
    prepared_data: Path, empty: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = installation(tmp_path_factory.mktemp("waiting"), prepared_data, messages=50)
    path = tmp_path / "old.backup"
    done = manage(source, "shell", "--no-imports", "-c", WAITING)
    assert done.returncode == 0, done.stderr
    assert manage(source, "backup", path).returncode == 0
    assert manage(empty, "restore", path).returncode == 0

    done = manage(empty, "shell", "--no-imports", "-c", WHAT_WAITS)

    assert done.returncode == 0, done.stderr
    stale, fresh = ["handled", "stale"], ["received", ""]
    assert json.loads(done.stdout.splitlines()[-1]) == [
        [False, False, [stale]],
        [True, True, [fresh]],
        [True, True, [stale, fresh]],
    ]


def rewritten(backup: Path, path: Path, *, manifest: dict | None = None, extra: str = "", damage: bool = False) -> Path:
    """Write a changed copy of the backup."""
    with tarfile.open(backup) as old, tarfile.open(path, "w") as new:
        for entry in old:
            content = old.extractfile(entry).read()
            if entry.name == "manifest.json" and manifest:
                content = json.dumps(json.loads(content) | manifest).encode()
            if entry.name == "secrets.env" and damage:
                content += b"X=1\n"
            entry.size = len(content)
            new.addfile(entry, io.BytesIO(content))
        if extra:
            new.addfile(tarfile.TarInfo(extra))
    return path


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"manifest": {"version": "99.0"}}, "newer than this one"),
        ({"manifest": {"migrations": {"messaging": "9999_later"}}}, "newer than this version"),
        ({"extra": "media/../../outside"}, "does not belong into a backup"),
        ({"extra": "/outside"}, "does not belong into a backup"),
        ({"extra": "other.txt"}, "does not belong into a backup"),
        ({"damage": True}, "do not match its manifest"),
    ],
)
def test_an_archive_that_is_newer_hostile_or_damaged_is_refused(
    backup: Path, empty: Path, tmp_path: Path, changes: dict, reason: str
) -> None:
    done = manage(empty, "restore", rewritten(backup, tmp_path / "changed", **changes))
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert not (empty / "media").exists()
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_half_an_archive_is_refused(backup: Path, empty: Path, tmp_path: Path, share: float) -> None:
    half = tmp_path / "half"
    content = backup.read_bytes()
    half.write_bytes(content[: int(len(content) * share)])
    done = manage(empty, "restore", half)
    assert done.returncode == 1
    assert "is not a" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_backup_does_not_overwrite_a_file(source: Path, backup: Path) -> None:
    before = backup.read_bytes()
    done = manage(source, "backup", backup)
    assert (done.returncode, backup.read_bytes()) == (1, before)


@pytest.fixture
def database_url(tmp_path: Path) -> Iterator[str]:
    with postgres_server(tmp_path) as url:
        yield url


def test_a_backup_restores_into_an_external_postgresql_with_the_same_secrets(
    source: Path, backup: Path, empty: Path, database_url: str
) -> None:
    other = SECRETS | {"DATABASE_URL": database_url, "SECRET_KEY": "another-key-" * 5}
    refused = manage(empty, "restore", backup, **other)
    assert "SECRET_KEY differs" in refused.stderr
    done = manage(empty, "restore", backup, **SECRETS | {"DATABASE_URL": database_url})
    assert done.returncode == 0, done.stderr
    assert received(empty, **SECRETS | {"DATABASE_URL": database_url}) == received(source)


def test_the_secrets_of_a_backup_are_written_where_the_environment_has_none(backup: Path, tmp_path: Path) -> None:
    place = {"DATABASE_URL": "postgres://agent@db.invalid/agent"}
    refused = manage(tmp_path / "data", "restore", backup, **place)
    assert refused.returncode == 1
    assert "restore FILE --secrets NEW_FILE writes" in refused.stderr
    done = manage(tmp_path / "data", "restore", backup, "--secrets", tmp_path / "agent.env", **place)
    assert done.returncode == 0, done.stderr
    assert f"SECRET_KEY={SECRETS['SECRET_KEY']}" in (tmp_path / "agent.env").read_text().splitlines()
    assert (tmp_path / "agent.env").stat().st_mode & 0o777 == 0o600

"""Wrong input to every management command: a clear line, an exit code, no traceback, and nothing half done."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import psycopg2
import pytest
from django.core.management import get_commands

from tests.support.application import ROOT, SECRETS, stop_database
from tests.support.forked import Forked
from tests.support.messaging.documents import image
from tests.support.operators import installation, manage
from whatsapp_agent.postgres import embedded

APPS = ("accounts", "sessions_app", "messaging", "commands", "agent")
NOBODY = "01a2060c-0186-76a7-9642-3a280e006d9b"
PHONE = "+5511988887777"
NEW_PHONE = "+5511977776666"
CHAT = "27/10/2026, 09:05 - Ana: Hello\n27/10/2026, 09:06 - The Shop: Good morning\n"
IMPORT = ("--session", "demo-1", "--contact", NEW_PHONE, "--me", "The Shop")
TABLES = (
    "accounts_user", "accounts_apikey", "sessions_app_whatsappsession", "messaging_contact",
    "messaging_conversation", "messaging_message", "messaging_media",
)  # fmt: skip
STATES = (
    *(f"(SELECT md5(string_agg(md5(row::text), '' ORDER BY id)) FROM {table} row)" for table in TABLES),  # noqa: S608
    "(SELECT (count(*), max(former_webhook_secret_until))::text FROM sessions_app_bridge)",
)
FULL = "The disk is full"
BRIDGE_NOWHERE = [
    (*command, "--bridge", "nowhere")
    for command in [("setup_bridge",), ("sync_sessions",), ("list_numbers", "12"), ("sync_templates",)]
]


@dataclass
class Place:
    """An installation, a folder with files to use, and what runs commands."""

    data_dir: Path
    folder: Path
    forked: Forked
    database: Any
    conversation: str
    contact: str

    def run(self, *arguments: object, **options: Any) -> Any:
        """Run a command; `{folder}`, `{conversation}` and `{contact}` are filled in."""
        filled = [
            each.format(folder=self.folder, conversation=self.conversation, contact=self.contact)
            if isinstance(each, str)
            else each
            for each in arguments
        ]
        return self.forked.run(*filled, **options)

    def state(self) -> dict[str, Any]:
        """Return what a command that was refused must not have changed."""
        files = sorted(str(path) for path in (*self.folder.rglob("*"), *(self.data_dir / "media").rglob("*")))
        rows = self.one(f"SELECT {', '.join(STATES)}")
        return {"files": files, "secrets": (self.data_dir / "secrets.env").read_text(), "rows": rows}

    def one(self, statement: str) -> Any:
        with self.database.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, prepared_data: Path) -> Iterator[Place]:
    data_dir = installation(tmp_path_factory.mktemp("bad input"), prepared_data, messages=60)
    folder = tmp_path_factory.mktemp("files")
    (folder / "empty").write_bytes(b"")
    (folder / "text.txt").write_text("Nothing of use.\n")
    (folder / "chat.txt").write_text(CHAT)
    (folder / "passphrase").write_text("a good one\n")
    (folder / "forbidden").mkdir(mode=0o500)
    (folder / "unreadable").write_text("a good one\n")
    (folder / "unreadable").chmod(0)
    with ZipFile(folder / "photo.zip", "w") as archive:
        archive.writestr("_chat.txt", f"27/10/2026, 09:04 - Ana: IMG-1.jpg (file attached)\n{CHAT}")
        archive.writestr("IMG-1.jpg", image(400, 300))
    os.mkfifo(folder / "pipe")  # into which nobody writes
    (folder / "binary").write_bytes(bytes(range(256)) * 40)
    with ZipFile(folder / "out.zip", "w") as archive:
        archive.writestr("_chat.txt", CHAT)
        archive.writestr("../evil.txt", "x")
    with ZipFile(folder / "whole.zip", "w") as archive:
        archive.writestr("_chat.txt", CHAT * 500)
    (folder / "half.zip").write_bytes((folder / "whole.zip").read_bytes()[:2000])
    assert manage(data_dir, "create_user", "owner", "--role", "admin").returncode == 0
    assert manage(data_dir, "backup", folder / "whole.backup").returncode == 0
    locked = folder / "locked.backup"
    assert manage(data_dir, "backup", locked, "--passphrase-file", folder / "passphrase").returncode == 0
    whole = (folder / "whole.backup").read_bytes()
    (folder / "half.backup").write_bytes(whole[: len(whole) // 2])
    with Forked(data_dir) as forked:
        server = embedded.ensure_running(data_dir / "postgres")
        database = psycopg2.connect(**server.address, user=embedded.SUPERUSER, dbname=embedded.DATABASE)
        database.autocommit = True
        place = Place(data_dir, folder, forked, database, "", "")
        place.conversation, place.contact = place.one(
            "SELECT id::text, contact_id::text FROM messaging_conversation ORDER BY id LIMIT 1"
        )
        place.one(
            "UPDATE messaging_message SET status = 'failed' WHERE id = "
            "(SELECT id FROM messaging_message WHERE direction = 'outbound' LIMIT 1) RETURNING id::text"
        )
        yield place
        database.close()
    stop_database(data_dir)


# The arguments, and what the error has to say. Exit code 1; 2 where argparse refuses.
REFUSED: list[tuple[tuple[Any, ...], str]] = [
    (("create_api_key", "nobody", "--name", "crm", "--scope", "messages:read"), "no active user nobody"),
    (("create_api_key", "owner", "--name", "crm", "--scope", "messages:read", "--session", NOBODY), "session"),
    (("create_api_key", "owner", "--name", " ", "--scope", "messages:read"), "name is empty"),
    (("create_api_key", "owner", "--name", "a\nb", "--scope", "messages:read"), "--name"),
    (("create_user", "rita", "--session", "nowhere"), "no session 'nowhere'"),
    (("create_user", "owner"), "already exists"),
    (("create_user", "a b\nc"), "username"),
    (("create_user", "rita", "--email", "not an address"), "mail"),
    (("create_user", "rita", "--password-stdin"), "standard input is empty"),
    (("link_session", "no spaces please"), "Invalid name"),
    (("link_session", "sales", "--bridge", "nowhere"), "no bridge nowhere"),
    (("move_session", "nobody", "--to", "default"), "no session nobody"),
    (("move_session", "demo-1", "--bridge", "simulator", "--to", "nowhere"), "no bridge nowhere"),
    *((each, "no bridge nowhere") for each in BRIDGE_NOWHERE),
    (("sync_templates",), "--account"),
    (("sync_templates", "--account", "12", "--bridge", "simulator"), "simulator"),
    (("list_numbers", "12", "--bridge", "simulator"), "simulator"),
    (("contacts_doctor", "twelve"), "phone"),
    (("demo_data",), "--force"),
    (("export_contact", NOBODY, "--output", "{folder}/a.zip"), "Contact not found"),
    (("export_contact", "12", "--output", "{folder}/a.zip"), "phone"),
    (("export_contact", "{contact}", "--session", "nowhere", "--output", "{folder}/a.zip"), "no session"),
    (("export_contact", "{contact}", "--output", "{folder}"), "exists already"),
    (("export_contact", "{contact}", "--output", "{folder}/text.txt"), "exists already"),
    (("export_contact", "{contact}", "--output", "{folder}/none/a.zip"), "No such file"),
    (("export_contact", "{contact}", "--output", "{folder}/text.txt/a.zip"), "Not a directory"),
    (("export_contact", "{contact}", "--output", "{folder}/" + "a" * 300), "name too long"),
    (("export_contact", "{contact}", "--output", "/proc/a.zip"), "/proc/a.zip"),
    *((("export_conversation", conversation), "no conversation") for conversation in (NOBODY, "12")),
    (("export_conversation", "{conversation}", "--output", "{folder}/a.pdf"), "Unknown format"),
    (("export_conversation", "{conversation}", "--output", "{folder}/none/a.json"), "No such file"),
    (("export_conversation", "{conversation}", "--output", "{folder}/text.txt"), "exists already"),
    (("forget_contact", NOBODY, "--yes"), "Contact not found"),
    (("forget_contact", "12", "--yes"), "phone"),
    (("forget_contact", "{contact}"), "add --yes"),
    (("forget_contact", "{contact}", "--session", "nowhere", "--yes"), "no session"),
    (("import_chat", "{folder}/none.txt", *IMPORT), "No such file"),
    (("import_chat", "{folder}", *IMPORT), "Is a directory"),
    (("import_chat", "/proc/self/mem", *IMPORT), "put/output error"),
    (("import_chat", "{folder}/pipe", *IMPORT), "a pipe, not a file"),
    (("import_chat", "/dev/zero", *IMPORT), "device, not a file: /dev/zero"),
    *((("import_chat", f"{{folder}}/{name}", *IMPORT), "no exported chat") for name in ("empty", "text.txt", "binary")),
    (("import_chat", "{folder}/whole.backup", *IMPORT), "chat"),
    (("import_chat", "{folder}/half.zip", *IMPORT), "not whole"),
    (("import_chat", "{folder}/out.zip", *IMPORT), "leads out of its folder"),
    (("import_chat", "{folder}/chat.txt", *IMPORT[:2], "--contact", "12"), "phone"),
    (("import_chat", "{folder}/chat.txt", *IMPORT[:2], "--contact", NOBODY), "Contact not found"),
    (("import_chat", "{folder}/chat.txt", *IMPORT[:4], "--me", "Rui"), "has written nothing"),
    (("import_chat", "{folder}/chat.txt", "--session", "nowhere", *IMPORT[2:]), "no session"),
    *(((name, "--session", "nowhere"), "no session") for name in ("requeue", "stats", "tail")),
    (("tail", "--after", "nonsense"), "cursor"),
    (("why", NOBODY), "No message"),
    (("why", "a message's id\nof two lines"), "No message"),
    (("why", b"\xff\xfe"), "UTF-8"),
    (("seed_demo", "--messages", "0"), "at least one message"),
    (("seed_demo", "--sessions", "5", "--conversations", "2"), "at least one"),
    (("prune",), "Nothing is set to be deleted"),
    (("run_command", "nonsense", "--conversation", NOBODY), "nonsense"),
    (("run_command", "help", "--conversation", NOBODY), "Conversation not found"),
    (("run_command", "summarize", "--conversation", "{conversation}", "many"), "many"),
    *((("backup", path), "exists already") for path in ("{folder}/whole.backup", "{folder}")),
    (("backup", "{folder}/none/a.backup"), "No such file"),
    (("backup", "{folder}/a.backup", "--passphrase-file", "{folder}/none"), "No such file"),
    (("backup", "{folder}/a.backup", "--passphrase-file", "{folder}"), "Is a directory"),
    (("backup", "{folder}/a.backup", "--passphrase-file", "{folder}/empty"), "is empty"),
    (("backup", "{folder}/a.backup", "--passphrase-file", "/dev/zero"), "device, not a file"),
    (("backup", "{folder}/a.backup", "--passphrase-file", "{folder}/binary"), "is no text"),
    (("restore",), "Name the backup"),
    (("restore", "{folder}/none"), "No such file"),
    (("restore", "{folder}"), "Is a directory"),
    (("restore", "{folder}/pipe"), "a pipe, not a file"),
    (("restore", "/dev/full"), "device, not a file"),
    *((("restore", f"{{folder}}/{name}"), "backup") for name in ("text.txt", "empty", "whole.zip")),
    (("restore", "{folder}/half.backup"), "whole"),
    (("restore", "{folder}/whole.backup"), "is in use"),
    (("restore", "{folder}/locked.backup"), "passphrase"),
    (("restore", "{folder}/locked.backup", "--passphrase-file", "{folder}/chat.txt"), "passphrase"),
    (("restore", "{folder}/whole.backup", "--secrets", "{folder}/text.txt"), "exists already"),
    (("rotate_secrets", "--finish"), "No rotation is under way"),
    (("rotate_secrets", "--bridge", "default"), "--webhooks"),
    (("rotate_secrets", "--webhooks", "--encrypt"), "--finish"),
    (("rotate_secrets", "--tokens", "--finish"), "--finish"),
    (("rotate_secrets", "--webhooks", "--bridge", "nowhere"), "no bridge nowhere"),
    (("chat", "--phone", "12"), "phone"),
    (("chat", "--session", "no spaces"), "name"),
    (("worker",), "REDIS_URL"),
    (("up", "--port", "0"), "--port 0"),
]  # fmt: skip
MALFORMED: list[tuple[tuple[Any, ...], str]] = [
    (("create_api_key", "owner", "--name", "crm", "--scope", "all"), "invalid choice"),
    (("create_api_key", "owner", "--name", "crm", "--scope", "messages:read", "--expires-in-days", "²"), "days"),
    (("create_api_key", "owner", "--name", "crm", "--scope", "messages:read", "--session", "12"), "--session"),
    (("create_user", "rita", "--role", "king"), "invalid choice"),
    (("link_session", "sales", "--timeout", "nan"), "seconds"),
    (("chat", "--timeout", "-1"), "seconds"),
    (("export_conversation", "{conversation}", "--format", "exe"), "invalid choice"),
    (("import_chat", "{folder}/chat.txt", *IMPORT, "--date-order", "dym"), "invalid choice"),
    (("requeue", "--since", "yesterday"), "is no time"),
    (("requeue", "--since", "999999w"), "too long ago"),
    (("stats", "--since", "0001-01-01T00:00+23:00"), "out of range"),
    (("tail", "--type", "nonsense"), "invalid choice"),
    (("seed_demo", "--messages", "many"), "invalid int"),
    (("prune", "--messages", "999999w"), "too long ago"),
    (("prune", "--media", "old"), "is no age"),
    (("run_command", "help", "--conversation", "12"), "--conversation"),
    (("rotate_secrets", "--webhooks", "--tokens"), "not allowed with"),
    (("up", "--port", "http"), "invalid int"),
]  # fmt: skip
OWN_COMMANDS = sorted(name for name, app in get_commands().items() if app in APPS)


def name_of(row: Any) -> str:
    return " ".join(os.fsdecode(each) for each in row)[:60] if isinstance(row, tuple) else ""


def check_refusal(done: Any, *, code: int, reason: str) -> None:
    assert "Traceback" not in done.err, done.err
    assert (done.code, reason.lower() in done.err.lower()) == (code, True), done
    assert done.err.strip()


@pytest.mark.parametrize(("arguments", "reason"), REFUSED, ids=name_of)
def test_wrong_input_is_refused_with_its_reason(place: Place, arguments: tuple[Any, ...], reason: str) -> None:
    before = place.state()
    check_refusal(place.run(*arguments), code=1, reason=reason)
    assert place.state() == before


@pytest.mark.parametrize(("arguments", "reason"), MALFORMED, ids=name_of)
def test_a_malformed_option_is_refused_with_its_reason(place: Place, arguments: tuple[Any, ...], reason: str) -> None:
    check_refusal(place.run(*arguments), code=2, reason=reason)


@pytest.mark.parametrize("name", OWN_COMMANDS)
def test_every_command_refuses_an_unknown_option(place: Place, name: str) -> None:
    check_refusal(place.run(name, "--nonsense"), code=2, reason=f"{name}: error: ")


def test_every_command_with_input_is_in_these_tables() -> None:
    without_input = {
        "bridge_matrix", "doctor", "event_types", "permission_matrix", "prepare_static_files", "purge_media",
        "reindex_search", "version",
    }  # fmt: skip
    assert {arguments[0] for arguments, _ in REFUSED} == set(OWN_COMMANDS) - without_input


ROTATING: list[tuple[Any, ...]] = [("rotate_secrets",), ("rotate_secrets", "--tokens")]
WRITING: list[tuple[Any, ...]] = [
    ("backup", "{folder}/a.backup"),
    ("export_contact", "{contact}", "--output", "{folder}/a.zip"),
    ("export_conversation", "{conversation}", "--output", "{folder}/a.json"),
    ("restore", "{folder}/whole.backup", "--secrets", "{folder}/secrets"),
    *ROTATING,
]


@pytest.mark.parametrize("arguments", WRITING, ids=name_of)
def test_a_full_disk_ends_a_command_that_writes_a_file_and_leaves_nothing(
    place: Place, arguments: tuple[Any, ...]
) -> None:
    before = place.state()
    check_refusal(place.run(*arguments, max_file_bytes=16), code=1, reason="")
    assert place.state() == before


WRITING_MORE: list[tuple[tuple[Any, ...], int]] = [
    (("backup", "{folder}/a.backup"), 40_000),  # while PostgreSQL's own program writes
    (("backup", "{folder}/a.backup", "--passphrase-file", "{folder}/passphrase"), 40_000),
    (("import_chat", "{folder}/photo.zip", *IMPORT), 1000),
    (("export_conversation", "{conversation}", "--output", "{folder}/a.zip"), 1000),
    (("export_contact", "{contact}", "--output", "{folder}/a.zip"), 1000),
]


@pytest.mark.parametrize(("arguments", "room"), WRITING_MORE, ids=name_of)
def test_a_disk_that_fills_up_in_the_middle_ends_a_command_and_leaves_nothing(
    place: Place, arguments: tuple[Any, ...], room: int
) -> None:
    before = place.state()
    check_refusal(place.run(*arguments, max_file_bytes=room), code=1, reason="")
    assert place.state() == before


FORBIDDEN = "Permission denied"
WITHOUT_RIGHTS: list[tuple[tuple[Any, ...], str]] = [
    (("backup", "{folder}/forbidden/a.backup"), "{folder}/forbidden"),
    (("backup", "{folder}/a.backup", "--passphrase-file", "{folder}/unreadable"), "{folder}/unreadable"),
    (("restore", "{folder}/unreadable"), "{folder}/unreadable"),
    (("restore", "{folder}/whole.backup", "--secrets", "{folder}/forbidden/secrets"), "{folder}/forbidden/secrets"),
    (("export_contact", "{contact}", "--output", "{folder}/forbidden/a.zip"), "{folder}/forbidden/a.zip"),
    (("export_conversation", "{conversation}", "--output", "{folder}/forbidden/a.txt"), "{folder}/forbidden/a.txt"),
    (("import_chat", "{folder}/unreadable", *IMPORT), "{folder}/unreadable"),
]


@pytest.mark.parametrize(("arguments", "path"), WITHOUT_RIGHTS, ids=name_of)
def test_a_file_that_the_operator_may_not_read_or_write_is_named(
    place: Place, arguments: tuple[Any, ...], path: str
) -> None:
    before = place.state()
    done = place.run(*arguments, without_rights=True)
    check_refusal(done, code=1, reason=FORBIDDEN)
    assert path.format(folder=place.folder) in done.err
    assert place.state() == before


@pytest.mark.parametrize("arguments", ROTATING, ids=name_of)
def test_secrets_that_the_operator_may_not_write_stay(place: Place, arguments: tuple[Any, ...]) -> None:
    before, mode = place.state(), place.data_dir.stat().st_mode
    place.data_dir.chmod(0o500)
    try:
        check_refusal(place.run(*arguments, without_rights=True), code=1, reason=FORBIDDEN)
    finally:
        place.data_dir.chmod(mode)
    assert place.state() == before


def test_files_that_the_operator_may_not_delete_stay(place: Place) -> None:
    month = place.data_dir / "media" / "2026" / "11"
    os.utime(month / "photo.png", (0, 0))  # a younger one may belong to a message that is about to be stored
    before, mode = place.state(), month.stat().st_mode
    month.chmod(0o500)
    try:
        check_refusal(place.run("purge_media", "--delete", without_rights=True), code=1, reason=FORBIDDEN)
    finally:
        month.chmod(mode)
    assert place.state() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a command as somebody else")
@pytest.mark.parametrize("name", ["stats", "backup", "doctor", "up"])
def test_a_command_run_by_a_user_who_may_not_read_data_dir_is_refused(place: Place, name: str) -> None:
    arguments = [name, f"{place.folder}/a.backup"] if name == "backup" else [name]
    own = {variable: value for variable, value in os.environ.items() if variable not in {*SECRETS, "DATABASE_URL"}}
    before, mode = place.state(), (place.data_dir / "secrets.env").stat().st_mode
    (place.data_dir / "secrets.env").chmod(0)
    try:
        done = subprocess.run(
            ["setpriv", "--bounding-set=-dac_override,-dac_read_search", sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=own | {"DATA_DIR": str(place.data_dir)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        (place.data_dir / "secrets.env").chmod(mode)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    assert str(place.data_dir) in done.stderr
    assert place.state() == before


PRINTING: list[tuple[Any, ...]] = [
    ("bridge_matrix",), ("event_types",), ("permission_matrix",), ("version",), ("stats",), ("stats", "--json"),
    ("why", "--json", "{message}"), ("tail", "--after", "all", "--no-follow"), ("contacts_doctor",),
    ("export_conversation", "{conversation}"), ("prune", "--messages", "90000d", "--dry-run"), ("purge_media",),
    ("requeue", "--dry-run"), ("rotate_secrets", "--dry-run"),
]  # fmt: skip


@pytest.mark.parametrize("arguments", PRINTING, ids=name_of)
def test_a_full_disk_ends_a_command_that_prints_to_it(place: Place, arguments: tuple[Any, ...]) -> None:
    (message,) = place.one("SELECT id::text FROM messaging_message LIMIT 1")
    filled = [each.replace("{message}", message) for each in arguments]
    check_refusal(place.run(*filled, output="/dev/full"), code=1, reason=FULL)


INTERRUPTED: list[tuple[tuple[Any, ...], str]] = [
    (("backup", "{folder}/a.backup"), "whatsapp_agent.storage.whole_file.whole_file"),
    (("export_contact", "{contact}", "--output", "{folder}/a.zip"), "messaging.people.export.write_contact"),
    (("export_conversation", "{conversation}", "--output", "{folder}/a.zip"), "messaging.maintenance.export.write_zip"),
    (("import_chat", "{folder}/chat.txt", *IMPORT), "messaging.imports.store._update_conversation"),
    (("import_chat", "{folder}/photo.zip", *IMPORT), "messaging.imports.store._update_conversation"),
    (("create_api_key", "owner", "--name", "crm", "--scope", "messages:read"), "accounts.credentials.keys._hash"),
    (("requeue", "--since", "900d"), "messaging.outbound.send_again"),
    (("purge_media", "--delete"), "messaging.media.files.unused"),
    (("reindex_search",), "messaging.search.index._index"),
    (("rotate_secrets",), "whatsapp_agent.storage.whole_file.whole_file"),
    (("rotate_secrets", "--encrypt"), "agent.backups.rotation.encrypt_again"),
    (("rotate_secrets", "--finish"), "agent.backups.rotation.finish_rotation"),
    (("rotate_secrets", "--webhooks"), "agent.backups.rotation.keep"),
    (("restore", "{folder}/whole.backup", "--secrets", "{folder}/secrets"), "agent.backups.archive._checked_manifest"),
    (("create_user", "rita", "--role", "viewer"), "sessions_app.members.create_member"),
    (("forget_contact", "{contact}", "--dry-run"), "messaging.people.find.find_contacts"),
    (("rotate_secrets", "--tokens"), "whatsapp_agent.storage.whole_file.whole_file"),
    (("stats",), "messaging.maintenance.overview.overview"),
    (("prune", "--messages", "90000d"), "messaging.maintenance.retention.prune"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "function"), INTERRUPTED, ids=name_of)
def test_ctrl_c_in_the_middle_ends_a_command_and_leaves_nothing(
    place: Place, arguments: tuple[Any, ...], function: str
) -> None:
    before = place.state()
    check_refusal(place.run(*arguments, interrupt_at=function), code=130, reason="Stopped.")
    assert place.state() == before


def test_forgetting_that_was_stopped_with_ctrl_c_is_completed_when_it_is_run_again(place: Place) -> None:
    before = place.one("SELECT count(*) FROM messaging_message")
    assert place.run("import_chat", "{folder}/chat.txt", *IMPORT).code == 0
    forget = ("forget_contact", NEW_PHONE, "--yes")
    stopped = place.run(*forget, interrupt_at="messaging.people.forgetting._turns")
    check_refusal(stopped, code=130, reason="Stopped.")
    done = place.run(*forget)
    assert (done.code, "Forgot contact" in done.out) == (0, True), done
    assert place.one("SELECT count(*) FROM messaging_message") == before
    assert place.one(f"SELECT count(*) FROM messaging_contact WHERE phone = '{NEW_PHONE}'") == (0,)  # noqa: S608


def test_pruning_that_was_stopped_with_ctrl_c_is_completed_when_it_is_run_again(place: Place) -> None:
    before = place.one("SELECT count(*) FROM messaging_message")
    chat = place.folder / "old.txt"
    chat.write_text("".join(f"13/10/2015, 09:{n:02} - Ana: Line {n}\n" for n in range(45)))  # two batches
    assert place.run("import_chat", chat, *IMPORT).code == 0
    stopped = place.run("prune", "--messages", "3650d", interrupt_at="messaging.maintenance.retention.next_size")
    check_refusal(stopped, code=130, reason="Stopped.")
    assert 0 < place.one("SELECT count(*) FROM messaging_message WHERE said_at < '2016-01-01'")[0] < 45
    assert place.run("prune", "--messages", "3650d").code == 0
    assert place.one("SELECT count(*) FROM messaging_message") == before


def test_a_reader_that_has_enough_ends_a_command_quietly(place: Place) -> None:
    done = manage(place.data_dir, "version")
    assert done.returncode == 0
    reading, writing = os.pipe()
    os.close(reading)
    ended = place.run("event_types", output=f"/proc/{os.getpid()}/fd/{writing}")
    os.close(writing)
    assert (ended.code, "Traceback" in ended.err) == (1, False)

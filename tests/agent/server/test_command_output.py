"""What management commands have in common: JSON for programs, dry runs that change nothing, a storage that refuses."""

import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.db import connection

from messaging.models import Contact, Conversation, Media, Message
from sessions_app.models import Bridge, WhatsAppSession
from sessions_app.services import ensure_default_bridges
from tests.support.bridges.fake_cloud import FakeCloud
from tests.support.messaging.documents import image

pytestmark = pytest.mark.django_db

APPS = ("accounts", "sessions_app", "messaging", "commands", "agent")
OWN = {name: app for name, app in get_commands().items() if app in APPS}
PHONE = "+5511988887777"
CHAT = "27/10/2026, 09:05 - Ana: Hello\n27/10/2026, 09:06 - The Shop: Good morning\n"

# Who has no --json: what is for people, or runs until it is stopped; what prints a page of the documentation.
WITHOUT_JSON = {
    "chat", "demo_data", "link_session", "prepare_static_files", "seed_demo", "up", "worker",
    "bridge_matrix", "event_types", "permission_matrix",
}  # fmt: skip
# Who has no --dry-run: what only reads, or writes one new file; what creates, which is deleted again; what brings up to
# date what a bridge has, and changes nothing when it is run again; what runs until it is stopped.
WITHOUT_DRY_RUN = {
    "bridge_matrix", "contacts_doctor", "doctor", "event_types", "list_numbers", "permission_matrix", "stats", "tail",
    "version", "why", "backup", "export_contact", "export_conversation",
    "demo_data", "link_session", "seed_demo",
    "prepare_static_files", "sync_sessions", "sync_templates",
    "chat", "run_command", "up", "worker",
}  # fmt: skip


def options_of(name: str) -> set[str]:
    parser = load_command_class(OWN[name], name).create_parser("manage.py", name)
    return {option for action in parser._actions for option in action.option_strings}


def test_every_command_prints_json_or_is_for_people() -> None:
    assert {name for name in OWN if "--json" not in options_of(name)} == WITHOUT_JSON


def test_every_command_that_changes_something_has_a_dry_run() -> None:
    assert {name for name in OWN if "--dry-run" not in options_of(name)} == WITHOUT_DRY_RUN


@pytest.fixture
def place(conversation: Conversation, tmp_path: Path, settings: Any, admin: Any) -> dict[str, str]:
    """A conversation with a file, an exported chat, a Cloud account; what is filled in below."""
    ensure_default_bridges()  # as any start does
    settings.MEDIA_ROOT, settings.PORT, settings.PUBLIC_URL = tmp_path / "media", 9, "https://agent.example.com"
    (tmp_path / "media" / "2026" / "11").mkdir(parents=True)
    (tmp_path / "media" / "2026" / "11" / "photo.png").write_bytes(b"a photo")
    (tmp_path / "chat.txt").write_text(CHAT)
    contact = conversation.contact
    Contact.objects.filter(pk=contact.pk).update(phone=PHONE)
    message = Message.objects.create(
        session=conversation.session, conversation=conversation, direction="outbound", author="agent", status="failed",
        text="Hello", error_code="refused",
    )  # fmt: skip
    Media.objects.create(message=message, file="2026/11/photo.png", mime_type="image/png")
    return {
        "conversation": str(conversation.pk), "contact": str(contact.pk), "message": str(message.pk),
        "session": conversation.session.name, "folder": str(tmp_path), "user": admin.username,
    }  # fmt: skip


def run(place: dict[str, str], *arguments: str) -> str:
    out = io.StringIO()
    filled = [each.format_map(place) for each in arguments]
    with suppress(*[SystemExit] if filled[0] == "doctor" else []):  # it ends with 1 if something is wrong
        call_command(*filled, stdout=out, stderr=io.StringIO())
    return out.getvalue()


IMPORT = ("import_chat", "{folder}/chat.txt", "--session", "{session}", "--contact", "+5511977776666",
          "--me", "The Shop")  # fmt: skip
CREATE_KEY = ("create_api_key", "{user}", "--name", "crm", "--scope", "messages:read")
PRINTING_JSON: list[tuple[str, ...]] = [
    ("contacts_doctor",),
    CREATE_KEY,
    ("create_user", "rita", "--role", "admin"),
    ("doctor",),
    ("export_contact", "{contact}", "--output", "{folder}/a.zip"),
    ("export_conversation", "{conversation}", "--output", "{folder}/a.html"),
    ("forget_contact", "{contact}", "--yes"),
    IMPORT,
    ("move_session", "{session}", "--to", "simulator"),
    ("prune", "--messages", "1d"),
    ("purge_media",),
    ("purge_media", "--delete"),
    ("reindex_search",),
    ("reindex_search", "--dry-run"),
    ("requeue",),
    ("rotate_secrets", "--dry-run"),
    ("rotate_secrets", "--webhooks"),
    ("rotate_secrets", "--webhooks", "--finish"),
    ("rotate_secrets", "--tokens", "--dry-run"),
    ("rotate_secrets", "--encrypt"),
    ("run_command", "help", "--conversation", "{conversation}"),
    ("setup_bridge",),
    ("stats",),
    ("sync_sessions",),
    ("tail", "--after", "all", "--no-follow"),
    ("version",),
    ("why", "{message}"),
]  # fmt: skip


@pytest.mark.parametrize("arguments", PRINTING_JSON, ids=" ".join)
def test_json_is_all_that_a_command_prints(place: dict[str, str], arguments: tuple[str, ...]) -> None:
    printed = run(place, *arguments, "--json")
    lines = printed.splitlines() if arguments[0] == "tail" else [printed]  # an event a line
    assert {type(json.loads(line)) for line in lines} <= {dict, list}


def test_every_command_with_json_is_in_that_table() -> None:
    # tests/agent/backups: they replace a database; tests/messaging/whatsapp_templates
    elsewhere = {"backup", "restore", "sync_templates"}
    assert {row[0] for row in PRINTING_JSON} | elsewhere | {"list_numbers"} == set(OWN) - WITHOUT_JSON


def test_the_key_in_json_logs_in(place: dict[str, str], client: Any) -> None:
    key = json.loads(run(place, *CREATE_KEY, "--json"))["key"]
    assert client.get("/api/v1/messages/", headers={"authorization": f"Api-Key {key}"}).status_code == 200
    assert "key" not in json.loads(run(place, *CREATE_KEY, "--dry-run", "--json"))


def test_the_numbers_of_an_account_are_printed_as_json(settings: Any) -> None:
    with FakeCloud() as cloud:
        settings.WHATSAPP_BRIDGE, settings.WHATSAPP_API_URL = "cloud", cloud.url
        settings.WHATSAPP_API_KEY, settings.WHATSAPP_SIGNING_KEY = "a token", "an app secret"
        number = {"id": "330011223344556", "display_phone_number": "+55 11 99999-0000", "verified_name": "Bakery"}
        cloud.fail("answer", call="any", status=200, body=json.dumps({"data": [number]}))
        (printed,) = json.loads(run({}, "list_numbers", "220011223344556", "--json"))
    assert (printed["name"], printed["phone"], printed["display_name"]) == (
        "330011223344556", "+5511999990000", "Bakery",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("export_contact", "{contact}", "--output", "{folder}/a.zip"),
            {"file": "{folder}/a.zip", "contact": "{contact}"},
        ),
        (
            ("export_conversation", "{conversation}", "--output", "{folder}/a.txt"),
            {"file": "{folder}/a.txt", "conversation": "{conversation}"},
        ),
        (("purge_media", "--delete", "--dry-run"), {"files": 0, "size_bytes": 0, "deleted": False}),
        (("reindex_search",), {"dry_run": False, "messages": 1, "entries": 0}),
        (("reindex_search", "--dry-run"), {"dry_run": True, "messages": 1, "entries": 0}),
        (("rotate_secrets", "--dry-run"), {"dry_run": True, "outdated": 0}),
        (("rotate_secrets", "--encrypt"), {"dry_run": False, "encrypted": 0}),
        (CREATE_KEY, {"username": "{user}", "scopes": ["messages:read"], "sessions": [], "expires_at": None}),
        ((*CREATE_KEY, "--dry-run"), {"dry_run": True, "name": "crm"}),
        (("move_session", "{session}", "--to", "simulator"), {"dry_run": False, "bridge": "simulator"}),
        (("setup_bridge",), {"dry_run": False, "bridge": "default"}),
        (("doctor",), {"healthy": False}),  # no web server runs
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_json_says_what_was_done(place: dict[str, str], arguments: tuple[str, ...], expected: dict[str, Any]) -> None:
    printed = json.loads(run(place, *arguments, "--json"))
    filled = {name: value.format_map(place) if isinstance(value, str) else value for name, value in expected.items()}
    assert printed | filled == printed


DRY_RUNS: list[tuple[str, ...]] = [
    CREATE_KEY,
    ("create_user", "rita", "--role", "admin"),
    ("forget_contact", "{contact}"),
    IMPORT,
    ("move_session", "{session}", "--to", "simulator"),
    ("prune", "--messages", "1d"),
    ("purge_media", "--delete"),
    ("reindex_search",),
    ("requeue",),
    ("rotate_secrets",),
    ("rotate_secrets", "--tokens"),
    ("rotate_secrets", "--webhooks"),
    ("rotate_secrets", "--webhooks", "--finish"),
    ("setup_bridge",),
]


def everything(folder: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        tables = [table for table in connection.introspection.table_names(cursor) if not table.startswith("django_")]
        rows = {}
        for table in tables:
            cursor.execute(f"SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY t::text)) FROM \"{table}\" t")  # noqa: S608
            rows[table] = cursor.fetchone()
    rows["sessions_app_bridge"] = list(Bridge.objects.order_by("pk").values())  # encrypted anew by each command
    return rows | {"files": sorted(str(path) for path in Path(folder).rglob("*"))}


@pytest.mark.parametrize("arguments", DRY_RUNS, ids=" ".join)
def test_a_dry_run_changes_nothing(place: dict[str, str], arguments: tuple[str, ...]) -> None:
    before = everything(place["folder"])
    assert run(place, *arguments, "--dry-run")
    assert everything(place["folder"]) == before


def test_every_dry_run_is_in_that_table() -> None:
    assert {row[0] for row in DRY_RUNS} | {"restore"} == set(OWN) - WITHOUT_DRY_RUN


def test_a_session_that_can_not_be_moved_is_refused_by_its_dry_run_too(
    place: dict[str, str], session: WhatsAppSession, simulator: Any
) -> None:
    WhatsAppSession.objects.create(bridge=simulator, name=session.name, agent_profile=session.agent_profile)
    with pytest.raises(Exception, match="already"):
        run(place, "move_session", "{session}", "--to", "simulator", "--dry-run")


def test_an_import_whose_files_cannot_be_stored_imports_nothing(place: dict[str, str], settings: Any) -> None:
    with ZipFile(Path(place["folder"]) / "photo.zip", "w") as archive:
        archive.writestr("_chat.txt", f"27/10/2026, 09:04 - Ana: IMG-1.jpg (file attached)\n{CHAT}")
        archive.writestr("IMG-1.jpg", image(40, 30))
    settings.MEDIA_ROOT = "/proc/none"  # where not even root may write
    before = list(Message.objects.values())
    with pytest.raises(CommandError, match="/proc/none"):
        run(place, "import_chat", "{folder}/photo.zip", *IMPORT[2:])
    assert list(Message.objects.values()) == before
    assert not Contact.objects.filter(phone="+5511977776666").exists()


def test_forgetting_somebody_whose_file_cannot_be_deleted_is_completed_once_it_can(place: dict[str, str]) -> None:
    photo = Path(place["folder"]) / "media" / "2026" / "11" / "photo.png"
    photo.unlink()
    photo.mkdir()
    (photo / "in the way").touch()
    with pytest.raises(CommandError, match=str(photo)):
        run(place, "forget_contact", "{contact}", "--yes")
    assert Media.objects.exists(), "the row is needed to find the file again"

    (photo / "in the way").unlink()
    run(place, "forget_contact", "{contact}", "--yes")
    assert not Contact.objects.filter(pk=place["contact"]).exists()
    assert not photo.exists()

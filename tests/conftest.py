"""What every test shares: no way out but loopback, and the few rows most situations begin with."""

import fcntl
import gc
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import deepcopy
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.management import create_contenttypes
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.db.models.signals import post_migrate
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import RefreshToken

from accounts.models import User
from agent.bridges.addresses import read_address
from agent.bridges.events import ChatAddress, Kind, MessageReceived
from agent.llm import capabilities
from messaging.events import feed as event_feed
from messaging.inbound import receive_message
from messaging.models import Contact, Conversation
from sessions_app.models import AgentProfile, AgentProfileVersion, Bridge, Membership, WhatsAppSession
from sessions_app.services import ensure_default_bridges
from tests.support.application import prepare_data
from tests.support.fake_openai import FakeOpenAI
from tests.template_database import drop_template_database, template_database

LOOPBACK = ("127.", "::1", "localhost")
SESSION = "sales"
CUSTOMER = "5511988887777@s.whatsapp.net"


@pytest.fixture(autouse=True, scope="session")
def no_send_rate() -> None:
    """A linked number's pace is of seconds; a test that is about it sets one."""
    settings.SEND_RATE_PER_MINUTE = 0


@pytest.fixture(autouse=True, scope="session")
def quick_passwords() -> None:
    """A test's password need not withstand a thief, and the real way of keeping one takes a third of a second."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: what starts processes or a browser waits for most of its time."""
    return (psutil.cpu_count(logical=False) or 1) + 1


# Modules there start processes and take up to minutes each. `make test` gives a worker one module after the other.
SLOW_FOLDERS = ("tests/agent/backups/", "tests/system/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest: at the end one worker would run them while the others have nothing left."""
    items.sort(key=lambda item: not item.nodeid.startswith(SLOW_FOLDERS))  # stable: everything else keeps its order


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let the garbage collector pass over what stays to the end (tests and models), and come less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def creation(django_db_modify_db_settings_parallel_suffix: None, shared_folder: Path) -> Iterator[ExitStack]:
    """The context in which the test database is created, until it is closed."""
    with ExitStack() as context:
        if "PYTEST_XDIST_WORKER" in os.environ:
            context.enter_context(template_database(shared_folder))
        yield context


@pytest.fixture(scope="session")
def django_db_modify_db_settings(creation: ExitStack) -> None:
    """What pytest-django asks for before it creates the test database."""


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_setup: None, creation: ExitStack, shared_folder: Path, django_db_blocker: Any
) -> Iterator[None]:
    """The test database is empty again after the run, so no commit waits for the disk and no table is truncated.

    TRUNCATE makes new files for each of some 40 tables and their indexes, 200 ms for a handful of rows. What migrations
    write (content types and permissions) stays, so that it need not be written again after each such test.
    """
    with django_db_blocker.unblock():
        creation.close()
        with connection.cursor() as cursor:
            name = connection.ops.quote_name(connection.settings_dict["NAME"])
            cursor.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    connection.close()
    connection.ops.sql_flush = _delete_rows
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    post_migrate.disconnect(create_contenttypes)
    yield
    with django_db_blocker.unblock():
        drop_template_database(shared_folder)


def _delete_rows(style: Any, tables: list[str], **_: Any) -> list[str]:
    """The one statement of `flush`: the rows go, without triggers and foreign keys; sequences go on."""
    written_by_migrations = {ContentType._meta.db_table, Permission._meta.db_table}
    deletions = [
        f"DELETE FROM {connection.ops.quote_name(table)};"  # noqa: S608
        for table in tables
        if table not in written_by_migrations
    ]
    return [
        " ".join(["SET session_replication_role = replica;", *deletions, "SET session_replication_role = DEFAULT;"])
    ]


@pytest.fixture(scope="session")
def prepared_data(shared_folder: Path) -> Path:
    """A DATA_DIR with an empty database and static files, to start copies of; all workers share it."""
    prepared = shared_folder / "prepared data"
    with (shared_folder / "prepared data.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not prepared.exists():
            prepare_data(draft := shared_folder / "prepared data.new")
            draft.rename(prepared)
    return prepared


@pytest.fixture(autouse=True, scope="session")
def static_root() -> None:
    """Where a start collects static files: the middleware that serves them wants it to be there."""
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)


@pytest.fixture(autouse=True, scope="session")
def only_loopback() -> Iterator[None]:
    """No test reaches beyond this machine, by whichever HTTP library: the sockets themselves are closed."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"a test tried to reach {address[0]}")
        connect(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def rows_of_a_start(django_db_setup: None, django_db_blocker: Any) -> list[Any]:
    """What `ensure_default_bridges` writes into an empty database: two bridges, a profile and its version."""
    with django_db_blocker.unblock(), transaction.atomic():
        ensure_default_bridges()
        rows = [*Bridge.objects.all(), AgentProfile.objects.get(), AgentProfileVersion.objects.get()]
        transaction.set_rollback(True)
    return rows


@pytest.fixture
def bridges(db: None, rows_of_a_start: list[Any]) -> None:
    """The `default` bridge and the simulator, as a start makes them: the same rows under new keys, in three inserts."""
    if Bridge.objects.exists():  # another fixture has made them, from settings of its own
        ensure_default_bridges()
        return
    *bridges, profile, version = deepcopy(rows_of_a_start)
    for row in (*bridges, profile, version):
        row.pk = row._meta.pk.get_default()
    version.profile = profile
    Bridge.objects.bulk_create(bridges)
    AgentProfile.objects.bulk_create([profile])
    AgentProfileVersion.objects.bulk_create([version])


@pytest.fixture
def bridge(bridges: None) -> Bridge:
    """A zapw at an address where nobody listens."""
    Bridge.objects.filter(slug="default").update(kind="zapw", base_url="http://127.0.0.1:9")
    return Bridge.objects.get(slug="default")


@pytest.fixture
def simulator(bridges: None) -> Bridge:
    return Bridge.objects.get(slug="simulator")


@pytest.fixture
def profile(bridges: None) -> AgentProfile:
    """The default profile, answering at once."""
    AgentProfile.objects.update(debounce_s=0, debounce_max_s=0)
    return AgentProfile.objects.get(is_default=True)


@pytest.fixture
def session(bridge: Bridge, profile: AgentProfile) -> WhatsAppSession:
    """A connected session of the zapw bridge."""
    return WhatsAppSession.objects.create(
        bridge=bridge, name=SESSION, status="connected", phone="+5511999990000", agent_profile=profile
    )


@pytest.fixture
def conversation(session: WhatsAppSession) -> Conversation:
    """A conversation with one contact and no message."""
    contact = Contact.objects.create(session=session, phone="+5511988887777", name="Ana")
    contact.aliases.create(session=session, kind="phone", value="+5511988887777")
    return Conversation.objects.create(session=session, contact=contact, address=CUSTOMER)


@pytest.fixture
def says(session: WhatsAppSession) -> Callable[..., Any]:
    """Receive a text from the contact: `says("Hello")`; returns the ReceiveResult."""
    count = 0

    def say(text: str = "Hello", **changes: Any) -> Any:
        nonlocal count
        count += 1
        return receive_message(bridge=session.bridge, event=message_event(text, number=count, **changes))

    return say


def message_event(
    text: str = "Hello",
    *,
    number: int = 1,
    chat: str | ChatAddress = CUSTOMER,
    sender: str | ChatAddress | None = None,
    age: timedelta = timedelta(),
    sent_at: datetime | None = None,
    **changes: Any,
) -> MessageReceived:
    """A message as an adapter hands it over; `number` makes its id, `age` how long ago it was written."""
    values: dict[str, Any] = {
        "session": SESSION,
        "provider_message_id": f"3EB0{number:016X}",
        "chat": _address(chat),
        "sender": _address(sender or chat),
        "kind": Kind.TEXT,
        "text": text,
        "sent_at": sent_at or timezone.now() - age,
    }
    return MessageReceived(**values | changes)


def _address(given: str | ChatAddress) -> ChatAddress | None:
    return given if isinstance(given, ChatAddress) else read_address(given)


@pytest.fixture
def member(session: WhatsAppSession) -> User:
    """An operator who is a member of the session."""
    user = User.objects.create_user("member", password="a long password 1")
    user.groups.add(Group.objects.get_or_create(name="operator")[0])
    Membership.objects.create(session=session, user=user)
    return user


@pytest.fixture
def stranger(db: None) -> User:
    """An operator who is a member of nothing."""
    user = User.objects.create_user("stranger", password="a long password 1")
    user.groups.add(Group.objects.get_or_create(name="operator")[0])
    return user


@pytest.fixture
def admin(db: None) -> User:
    """A superuser, who sees everything."""
    return User.objects.create_superuser("admin", password="a long password 1")


def as_user(user: User | None = None) -> APIClient:
    """A client of the API with an access token of this user; without a user, nobody."""
    client = APIClient()
    if user is not None:
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {RefreshToken.for_user(user).access_token}")
    return client


def with_key(text: str) -> APIClient:
    """A client of the API with this API key."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Api-Key {text}")
    return client


@pytest.fixture
def staff_member(member: User) -> User:
    """A staff user who is a member of the session."""
    User.objects.filter(pk=member.pk).update(is_staff=True)
    return User.objects.get(pk=member.pk)


@pytest.fixture
def staff_stranger(stranger: User) -> User:
    """A staff user who is a member of nothing."""
    User.objects.filter(pk=stranger.pk).update(is_staff=True)
    return User.objects.get(pk=stranger.pk)


@pytest.fixture
def staff_viewer(db: None) -> User:
    """A staff user in no group, so a viewer; a member of nothing."""
    return User.objects.create_user("viewer", password="a long password 1", is_staff=True)


@pytest.fixture
def uncollected(settings: Any) -> None:
    """Pages find static files without collecting them first."""
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }


@pytest.fixture
def log_in(uncollected: None) -> Callable[[User], Client]:
    """A browser in which a user has logged in."""

    def client_of(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return client_of


@pytest.fixture
def feed(request: Any, monkeypatch: Any) -> None:
    """The feed as others read it, also in a test that rolls back: it may read past its own open transaction."""
    marker = request.node.get_closest_marker("django_db")
    if marker is not None and marker.kwargs.get("transaction"):
        return
    monkeypatch.setattr(event_feed, "horizon", lambda: 2**63 - 1)
    monkeypatch.setattr(event_feed, "SELECT_NEXT_TRANSACTION", "SELECT 9223372036854775807")


@pytest.fixture
def model(settings: Any) -> Iterator[FakeOpenAI]:
    """A model server that the application asks, and that is tried again at once."""
    capabilities.clear_cache()  # an earlier server may have had the same port
    with FakeOpenAI() as fake:
        settings.OPENAI_BASE_URL = fake.base_url
        settings.MODEL_TIMEOUT_S = 20.0
        settings.AGENT_RETRY_BASE_S = 0.0
        yield fake


@pytest.fixture
def budget_s() -> Callable[[int], AbstractContextManager[None]]:
    """Interrupt what takes more CPU time: a busy machine changes nothing."""

    @contextmanager
    def bounded(seconds: int) -> Iterator[None]:
        def give_up(*_: object) -> None:
            raise AssertionError(f"took more than {seconds} s")

        before = signal.signal(signal.SIGPROF, give_up)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)

    return bounded

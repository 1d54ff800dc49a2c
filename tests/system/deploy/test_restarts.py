"""Restarts and an upgrade while messages come: two installations on one database, one after the other in service."""

import io
import subprocess
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.support.application import ROOT, Application
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_zapw import FakeZapw
from tests.support.operators import external_server
from whatsapp_agent.postgres import embedded

# The version to upgrade from, until one is released: before folders, engine processes, media and teamwork.
PREVIOUS = "cf4d883"
STORED = "SELECT provider_message_id FROM messaging_message WHERE direction = 'inbound'"
UNSETTLED = (
    "SELECT status, count(*) FROM messaging_message"
    " WHERE status IN ('received', 'queued', 'sending', 'failed', 'unconfirmed') GROUP BY 1"
)
PACE_S = 0.25
MODEL_S = 0.4  # so that turns are under way whenever something is stopped


@pytest.fixture
def server(tmp_path: Path) -> Iterator[embedded.Server]:
    """An empty database that no application manages."""
    with external_server(tmp_path) as server:
        yield server


class World:
    """A bridge, a model and a database, in which people write all the time, each one message."""

    def __init__(self, server: embedded.Server, tmp_path: Path, model: FakeOpenAI, zapw: FakeZapw) -> None:
        self._server, self._tmp_path, self._model, self.zapw = server, tmp_path, model, zapw
        self.tries: dict[str, list[int]] = {}  # of each message's webhook
        self._stopping = threading.Event()
        self._writers: list[threading.Thread] = []
        self._clock = threading.Thread(target=self._write, daemon=True)

    def installation(self, name: str, *, source: Path = ROOT) -> Application:
        return Application(
            self._tmp_path / name,
            source=source,
            DATABASE_URL=f"postgres://{embedded.SUPERUSER}@/agent",
            PGHOST=self._server.socket_dir,
            WHATSAPP_API_URL=self.zapw.url,
            WHATSAPP_API_KEY=self.zapw.api_key,
            OPENAI_BASE_URL=self._model.base_url,
            OPENAI_API_KEY="fake-model-key",
            WEB_PROCESSES=1,
            ENGINE_PROCESSES=1,
            AGENT_DEBOUNCE_S=0,
            AGENT_SWEEP_S=0.3,
            AGENT_LEASE_S=5,
            SEND_GAP_S=0,
        )

    def put_in_service(self, application: Application) -> None:
        """Let the bridge post to it from now on, as a load balancer would."""
        self.zapw.webhook_url = application.webhook_url

    def begin(self) -> None:
        self._clock.start()

    def end(self) -> None:
        """Let nobody write any more, and wait until every message is answered."""
        self._stopping.set()
        self._clock.join(30)
        for writer in self._writers:
            writer.join(120)
        assert {message_id: tries for message_id, tries in self.tries.items() if tries[-1:] != [200]} == {}
        self.zapw.wait_for_sent(len(self.tries), timeout_s=180)

    def _write(self) -> None:
        number = 0
        while not self._stopping.wait(PACE_S):
            number += 1
            writer = threading.Thread(target=self._post, args=(f"55119{number:08}", f"3EB0{number:08}"), daemon=True)
            self._writers.append(writer)
            writer.start()

    def _post(self, phone: str, message_id: str) -> None:
        self.tries[message_id] = []
        self.tries[message_id] = self.zapw.emit_message(f"question of {phone}", phone=phone, message_id=message_id)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        database = psycopg2.connect(**self._server.address, user=embedded.SUPERUSER, dbname="agent")
        try:
            with database, database.cursor() as cursor:
                cursor.execute(query)
                return list(cursor.fetchall())
        finally:
            database.close()

    def check(self) -> None:
        """Every message was taken and stored once, and answered once, to who wrote it."""
        assert len(self.tries) > 20
        stored = self.rows(
            "SELECT provider_message_id, count(*) FROM messaging_message WHERE direction = 'inbound' GROUP BY 1"
        )
        assert Counter(dict(stored)) == Counter(self.tries.keys())
        answered = Counter(sent["jid"].partition("@")[0] for sent in self.zapw.sent)
        assert answered == Counter(f"55119{message_id[4:]}" for message_id in self.tries)
        assert self.rows(UNSETTLED) == []


def end(*applications: Application) -> None:
    for application in applications:
        with suppress(AssertionError):  # it was not even started
            application.kill()


@pytest.fixture
def world(server: embedded.Server, tmp_path: Path) -> Iterator[World]:
    with FakeOpenAI(api_key="fake-model-key", latency_s=MODEL_S) as model, FakeZapw() as zapw:
        zapw.add_session("sales", phone="5511999990000")
        zapw.webhook_waits_s = (0.5, 1.0, 2.0, 4.0, *(8.0,) * 6)
        yield World(server, tmp_path, model, zapw)


def test_a_rolling_restart_under_load_loses_and_doubles_nothing(world: World) -> None:
    first, second = world.installation("first"), world.installation("second")
    try:
        first.start()
        world.put_in_service(first)
        world.begin()
        time.sleep(2)
        for old, new in ((first, second), (second, first)):
            new.start()
            world.put_in_service(new)
            assert old.stop() == 0
            time.sleep(1.5)
        world.end()
        world.check()
        assert {tuple(tries) for tries in world.tries.values()} == {(200,)}  # not even a second try was needed
    finally:
        end(first, second)


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the previous version. Skipped where git has no history, as in a shallow clone."""
    archive = subprocess.run(["git", "archive", PREVIOUS], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"git has no {PREVIOUS} (a shallow clone?): the upgrade from it is not tried")
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


def test_an_upgrade_under_load_loses_and_doubles_nothing(world: World, previous: Path) -> None:
    """The new version migrates the database while the old one works, then takes over."""
    old, new = world.installation("old", source=previous), world.installation("new")
    try:
        old.start()
        world.put_in_service(old)
        world.begin()
        time.sleep(3)
        new.start()
        world.put_in_service(new)
        old.stop()
        time.sleep(2)
        world.end()
        world.check()
    finally:
        end(old, new)

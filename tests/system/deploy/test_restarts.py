"""Restarts and an upgrade while messages come: two installations on one database, one after the other in service."""

import io
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.support.application import ROOT, Application
from tests.support.bridges.writers import Writers
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_zapw import FakeZapw
from tests.support.operators import external_server
from whatsapp_agent.postgres import embedded

# The version to upgrade from, until one is released: before folders, engine processes, media and teamwork. Another one:
# UPGRADE_FROM=821ce53 python -m pytest tests/system/deploy/test_restarts.py
PREVIOUS = os.environ.get("UPGRADE_FROM", "cf4d883")
MODEL_S = 0.4  # so that turns are under way whenever something is stopped


@pytest.fixture
def server(tmp_path: Path) -> Iterator[embedded.Server]:
    """An empty database that no application manages."""
    with external_server(tmp_path) as server:
        yield server


class World:
    """A bridge, a model and a database, in which people write all the time."""

    def __init__(self, server: embedded.Server, tmp_path: Path, model: FakeOpenAI, zapw: FakeZapw) -> None:
        self._server, self._tmp_path, self._model, self.zapw = server, tmp_path, model, zapw
        self.writers = Writers(zapw)

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

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        database = psycopg2.connect(**self._server.address, user=embedded.SUPERUSER, dbname="agent")
        try:
            with database, database.cursor() as cursor:
                cursor.execute(query)
                return list(cursor.fetchall())
        finally:
            database.close()


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
        world.writers.begin()
        time.sleep(2)
        for old, new in ((first, second), (second, first)):
            new.start()
            world.put_in_service(new)
            assert old.stop() == 0
            time.sleep(1.5)
        world.writers.end()
        world.writers.check(world.rows)
        assert {tuple(tries) for tries in world.writers.tries.values()} == {(200,)}  # not even a second try was needed
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
        world.writers.begin()
        time.sleep(3)
        new.start()
        world.put_in_service(new)
        old.stop()
        time.sleep(2)
        world.writers.end()
        world.writers.check(world.rows)
    finally:
        end(old, new)

"""A backup that is made while messages come and are answered restores into a whole and working installation."""

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest

from tests.support.application import ROOT, SECRETS, Application, open_to_all
from tests.support.fake_zapw import FakeZapw
from tests.support.operators import manage, postgres_server, received

CUSTOMERS = [f"55119{number:08}" for number in range(10_000_000, 10_000_012)]
SETTINGS = {"AGENT_DEBOUNCE_S": 0.1, "AGENT_SWEEP_S": 0.2, "SEND_GAP_S": 0, "WEB_PROCESSES": 1, "ENGINE_PROCESSES": 1}


@dataclass
class Backup:
    path: Path
    acknowledged_before: set[str]  # texts that were answered 200 before the backup began
    zapw: FakeZapw


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory, prepared_data: Path) -> Iterator[Backup]:
    path = tmp_path_factory.mktemp("backup") / "agent.backup"
    with FakeZapw() as zapw:
        zapw.add_session("sales", phone="5511999990000")
        bridge = {"WHATSAPP_API_URL": zapw.url, "WHATSAPP_API_KEY": zapw.api_key}
        data_dir = tmp_path_factory.mktemp("loaded")
        with Application(data_dir, prepared=prepared_data, **SETTINGS, **bridge) as application:
            zapw.webhook_url = application.webhook_url
            acknowledged: set[str] = set()
            stopping = threading.Event()
            writers = [
                threading.Thread(target=_write, args=(zapw, phone, acknowledged, stopping)) for phone in CUSTOMERS
            ]
            for writer in writers:
                writer.start()
            try:
                while len(acknowledged) < 60:
                    assert not stopping.wait(0.05)
                before = set(acknowledged)
                done = subprocess.run(
                    [sys.executable, "manage.py", "backup", str(path)],
                    cwd=ROOT, env=application.environment, capture_output=True, text=True, check=False,
                )  # fmt: skip
            finally:
                stopping.set()
                for writer in writers:
                    writer.join()
            assert done.returncode == 0, done.stderr
            assert len(acknowledged) > len(before), "nothing came while the backup was made"
        yield Backup(path, before, zapw)


def _write(zapw: FakeZapw, phone: str, acknowledged: set[str], stopping: threading.Event) -> None:
    number = 0
    while not stopping.is_set():
        number += 1
        text = f"{phone} asks {number}"
        if 200 in zapw.emit_message(text, phone=phone, message_id=f"3EB0{phone}{number:06}"):
            acknowledged.add(text)


CHECKS = {
    "a message without its conversation": """SELECT count(*) FROM messaging_message WHERE NOT EXISTS (
        SELECT FROM messaging_conversation WHERE id = conversation_id)""",
    "a lease": "SELECT count(*) FROM messaging_conversation WHERE lease_token IS NOT NULL",
    "a message to be sent": """SELECT count(*) FROM messaging_message
        WHERE direction = 'outbound' AND status IN ('queued', 'sending')""",
    "a handled message without its turn": """SELECT count(*) FROM messaging_message
        WHERE direction = 'inbound' AND status = 'handled' AND unanswered = '' AND turn_id IS NULL""",
}


def check(texts: list[str], counts: dict[str, int], backup: Backup) -> None:
    received = Counter(texts)
    assert backup.acknowledged_before <= set(received)
    assert set(received.values()) == {1}
    assert counts == dict.fromkeys(CHECKS, 0)


def test_it_works_on_another_data_dir(backup: Backup, tmp_path: Path) -> None:
    data_dir = open_to_all(tmp_path) / "restored"
    data_dir.mkdir(mode=0o755)
    done = manage(data_dir, "restore", backup.path)
    assert done.returncode == 0, done.stderr
    bridge = {"WHATSAPP_API_URL": backup.zapw.url, "WHATSAPP_API_KEY": backup.zapw.api_key}
    restored = Application(data_dir, **SETTINGS, **bridge)
    texts = [text for (text,) in restored.rows("SELECT text FROM messaging_message WHERE direction = 'inbound'")]
    check(texts, {name: restored.rows(query)[0][0] for name, query in CHECKS.items()}, backup)
    backup.zapw.webhook_url = restored.webhook_url
    sent = len(backup.zapw.sent)
    with restored:
        assert backup.zapw.emit_message("Are you back?", phone="5511966665555", message_id="3EB0BACC") == [200]
        assert backup.zapw.wait_for_sent(sent + 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a command as somebody else")
def test_it_is_not_restored_into_a_data_dir_that_may_not_be_written(backup: Backup, tmp_path: Path) -> None:
    data_dir = open_to_all(tmp_path) / "data"
    data_dir.mkdir(mode=0o555)
    own = {name: value for name, value in os.environ.items() if name not in {*SECRETS, "DATABASE_URL"}}
    done = subprocess.run(
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search", sys.executable, "manage.py", "restore",
         str(backup.path)],
        cwd=ROOT, env=own | {"DATA_DIR": str(data_dir)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    assert str(data_dir) in done.stderr
    assert list(data_dir.iterdir()) == []


def test_it_works_on_an_external_postgresql_and_a_backup_of_that_is_whole_again(backup: Backup, tmp_path: Path) -> None:
    with postgres_server(tmp_path) as url:
        data_dir = tmp_path / "data"
        done = manage(data_dir, "restore", backup.path, **SECRETS, DATABASE_URL=url)
        assert done.returncode == 0, done.stderr
        database = psycopg2.connect(url)
        with database.cursor() as cursor:
            cursor.execute("SELECT text FROM messaging_message WHERE direction = 'inbound'")
            texts = [text for (text,) in cursor.fetchall()]
            counts = {}
            for name, query in CHECKS.items():
                cursor.execute(query)
                counts[name] = cursor.fetchone()[0]
        database.close()
        check(texts, counts, backup)
        bridge = {"WHATSAPP_API_URL": backup.zapw.url, "WHATSAPP_API_KEY": backup.zapw.api_key}
        restored = Application(data_dir, DATABASE_URL=url, **SETTINGS, **bridge)
        backup.zapw.webhook_url = restored.webhook_url
        sent = len(backup.zapw.sent)
        with restored:
            assert backup.zapw.emit_message("And there?", phone="5511966664444", message_id="3EB0EEEE") == [200]
            assert backup.zapw.wait_for_sent(sent + 1)
        back, path = open_to_all(tmp_path) / "back", tmp_path / "external.backup"
        done = manage(data_dir, "backup", path, **SECRETS, DATABASE_URL=url)
        assert done.returncode == 0, done.stderr
        there = received(data_dir, **SECRETS, DATABASE_URL=url)
    done = manage(back, "restore", path)
    assert done.returncode == 0, done.stderr
    assert received(back) == there
    assert there[1] == len(texts) + 1

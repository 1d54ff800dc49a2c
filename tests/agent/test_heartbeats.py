"""Heartbeats: who takes turns and sends, and how that shows in doctor, in readiness and in the admin."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from django.urls import reverse
from django.utils import timezone

from agent import engine, heartbeats
from agent.models import STALLED_S, EngineProcess
from agent.server import doctor
from agent.worker_pool import WorkerPool


@pytest.fixture
def with_redis(settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"


def process(*, seen_s_ago: float = 0.0, **values: object) -> EngineProcess:
    now = timezone.now()
    values = {"kind": "worker", "host": "machine-1", "pid": 4711, "started_at": now} | values
    return EngineProcess.objects.create(seen_at=now - timedelta(seconds=seen_s_ago), **values)


def finding(about: str) -> doctor.Finding:
    return next(one for one in doctor.findings() if one.about == about)


@pytest.mark.django_db(transaction=True)
def test_a_process_has_a_row_while_its_engine_runs(settings, bridges):
    settings.AGENT_SWEEP_S = 3600.0
    engine.start()
    try:
        heartbeats.start(EngineProcess.Kind.WORKER)
        row = EngineProcess.objects.alive().get()
        assert (row.kind, row.turns_running, row.woken_at) == ("worker", 0, None)
        heartbeats.note_wake_up()
        heartbeats.beat()
        row.refresh_from_db()
        assert row.woken_at is not None
        heartbeats.stop()
        assert not EngineProcess.objects.exists()
    finally:
        heartbeats.stop()
        engine.stop(timeout_s=2)


@pytest.mark.parametrize(
    ("row", "is_ready"),
    [
        (None, False),
        ({"seen_s_ago": 0}, True),
        ({"seen_s_ago": 60}, False),
        ({"stalled_s": STALLED_S}, False),
    ],
    ids=["none", "alive", "dead", "stalled"],
)
def test_readiness_with_redis_needs_a_worker_that_works(client, simulator, with_redis, row, is_ready):
    if row is not None:
        process(**row)
    response = client.get("/health/ready/")
    assert ("workers" in str(response.json()) and response.json()["checks"]["workers"]) is is_ready
    assert is_ready or response.status_code == 503


def test_doctor_reports_that_without_a_worker_nothing_is_answered(db, with_redis):
    process(seen_s_ago=60)
    found = finding("workers")
    assert not found.is_healthy
    assert "nothing is answered" in found.text
    assert "manage.py worker" in found.remedy


def test_doctor_names_the_workers_that_work(db, with_redis):
    process(turns_running=3)
    found = finding("workers")
    assert found.is_healthy
    assert "4711 on machine-1 (3 turns)" in found.text


def test_doctor_reports_a_worker_that_lives_and_ends_no_turn(db, with_redis):
    process(pid=1)
    process(pid=2, stalled_s=STALLED_S + 1)
    found = finding("workers")
    assert not found.is_healthy
    assert "stalled: Celery worker 2" in found.text


def test_rows_of_processes_that_died_long_ago_are_deleted(db):
    process(seen_s_ago=25 * 3600)
    recent = process(seen_s_ago=3600)
    heartbeats.delete_dead()
    assert EngineProcess.objects.get() == recent


def test_the_admin_warns_when_no_worker_runs(admin, log_in, with_redis):
    process(seen_s_ago=60)
    page = log_in(admin).get(reverse("admin:agent_engineprocess_changelist")).content.decode()
    assert "4711 on machine-1" in page
    assert "nothing is answered" in page


def test_an_administrator_cannot_change_a_heartbeat(admin, log_in):
    row = process()
    url = reverse("admin:agent_engineprocess_delete", args=[row.pk])
    assert log_in(admin).post(url, {"post": "yes"}).status_code == 403
    assert EngineProcess.objects.exists()


def test_staff_of_one_session_do_not_see_the_processes(staff_member, log_in):
    assert log_in(staff_member).get(reverse("admin:agent_engineprocess_changelist")).status_code == 403


@pytest.fixture
def hanging() -> Iterator[tuple[WorkerPool, threading.Event]]:
    """A pool of one thread whose jobs end when the event is set."""
    end = threading.Event()
    pool = WorkerPool("test", lambda _key, _group: end.wait(60) and None, threads=1, submit_at=lambda *_: None)
    yield pool, end
    end.set()
    pool.close(timeout_s=20)


def test_a_pool_stalls_while_ids_wait_and_no_job_ends(hanging):
    pool, end = hanging
    pool.submit(uuid4(), uuid4())
    assert pool.load().stalled_s == 0.0
    pool.submit(uuid4(), uuid4())
    end.wait(0.3)
    load = pool.load()
    assert (load.running, load.waiting) == (1, 1)
    assert load.stalled_s >= 0.25

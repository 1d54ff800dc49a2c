"""With Redis, the sweep and the periodic jobs run in one worker at a time."""

from collections.abc import Iterator

import psycopg2
import pytest
from django.db import connection

from agent import engine
from agent.worker_pool import WorkerPool
from whatsapp_agent.periodic import PeriodicJob
from whatsapp_agent.postgres.advisory import one_at_a_time, try_lock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def another_worker() -> Iterator["Another"]:
    holder = connection.copy()
    holder.set_autocommit(False)
    yield Another(holder)
    holder.close()


class Another:
    """Another process, as the database sees it."""

    def __init__(self, holder) -> None:
        self.holder = holder

    def takes(self, name: str) -> None:
        assert try_lock(name, holder=self.holder)

    def dies(self) -> None:
        self.holder.close()


@pytest.fixture
def with_redis(settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"


def test_what_another_worker_does_at_this_moment_is_left_to_it(with_redis, another_worker):
    another_worker.takes("a job")
    with one_at_a_time("a job") as is_mine:
        assert not is_mine
    with one_at_a_time("another job") as is_mine:
        assert is_mine


def test_a_worker_that_dies_gives_the_lock_back(with_redis, another_worker):
    another_worker.takes("a job")
    another_worker.dies()
    with one_at_a_time("a job") as is_mine:
        assert is_mine


def test_a_job_that_fails_gives_the_lock_back(with_redis, another_worker):
    with pytest.raises(psycopg2.Error), one_at_a_time("a job"):
        raise psycopg2.Error
    another_worker.takes("a job")


def test_without_redis_nobody_waits_for_another(settings, another_worker):
    settings.REDIS_URL = ""
    another_worker.takes("a job")
    with one_at_a_time("a job") as is_mine:
        assert is_mine


def test_a_sweep_is_left_to_the_worker_that_sweeps(with_redis, says, conversation, another_worker, monkeypatch):
    submitted = []
    monkeypatch.setattr(WorkerPool, "submit", lambda _pool, key, _group: submitted.append(key))
    says("Hello")
    another_worker.takes("sweep")
    swept = engine.Engine()
    swept.sweep()
    assert submitted == []
    another_worker.dies()
    swept.sweep()
    assert submitted == [conversation.pk]


@pytest.mark.parametrize(("in_each_process", "runs"), [(False, 0), (True, 1)])
def test_a_job_runs_in_one_worker_unless_it_concerns_the_process(with_redis, another_worker, in_each_process, runs):
    ran = []

    def job() -> None:
        ran.append(1)

    another_worker.takes(f"{__name__}.job")
    engine.attempt(
        PeriodicJob(run=job, every_s=lambda: 1.0, may_block=False, in_each_process=in_each_process).run_where_due
    )
    assert len(ran) == runs

"""The worker pool: each conversation once at a time, and no session starves the others."""

import threading
from collections import Counter
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from agent.worker_pool import WorkerPool
from tests.support.background import becomes_true

pytestmark = pytest.mark.django_db(transaction=True)
GROUP = uuid4()
HUNG, OTHER, THIRD = uuid4(), uuid4(), uuid4()


def no_timer(*_: object) -> None:
    raise AssertionError("nothing asked for a time")


class Jobs:
    """Jobs that wait until `go_on`, but for those of groups that are not listed as hanging."""

    def __init__(self, *, hanging: tuple[UUID, ...] = ()) -> None:
        self.hanging = hanging
        self.go_on = threading.Event()
        self.running: Counter[UUID] = Counter()
        self.done: list[tuple[UUID, UUID]] = []
        self._lock = threading.Lock()

    def __call__(self, key: UUID, group: UUID) -> None:
        with self._lock:
            self.running[group] += 1
        if group in self.hanging:
            self.go_on.wait(20)
        with self._lock:
            self.running[group] -= 1
            self.done.append((key, group))


def test_a_pool_runs_a_conversation_once_at_a_time_and_again_if_it_was_submitted_meanwhile():
    conversation_id = uuid4()
    started, go_on = threading.Semaphore(0), threading.Event()
    running = 0
    most = 0

    def job(*_: object) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        started.release()
        go_on.wait(20)
        running -= 1

    pool = WorkerPool("test", job, threads=4, submit_at=no_timer)
    pool.submit(conversation_id, GROUP)
    assert started.acquire(timeout=20)
    for _ in range(3):
        pool.submit(conversation_id, GROUP)
    go_on.set()
    assert started.acquire(timeout=20)
    assert pool.close(timeout_s=20)
    assert most == 1
    assert not started.acquire(timeout=0.1)


def test_a_job_that_fails_does_not_take_its_thread_with_it():
    done = threading.Event()
    bad, good = uuid4(), uuid4()

    def job(conversation_id: object, _: object) -> None:
        if conversation_id == bad:
            raise ValueError("odd")
        done.set()

    pool = WorkerPool("test", job, threads=1, submit_at=no_timer)
    pool.submit(bad, GROUP)
    pool.submit(good, GROUP)
    assert done.wait(20)
    assert pool.close(timeout_s=20)


def test_a_closed_pool_takes_nothing_new():
    pool = WorkerPool("test", no_timer, threads=1, submit_at=no_timer)
    assert pool.close(timeout_s=20)
    pool.submit(uuid4(), GROUP)
    assert pool.close(timeout_s=20)


@pytest.fixture
def pool_of() -> Iterator:
    pools: list[tuple[Jobs, WorkerPool]] = []

    def make(jobs: Jobs, *, threads: int) -> WorkerPool:
        pool = WorkerPool("test", jobs, threads=threads, submit_at=no_timer)
        pools.append((jobs, pool))
        return pool

    yield make
    for jobs, pool in pools:
        jobs.go_on.set()
        pool.close(timeout_s=10)


@pytest.mark.parametrize("threads", [4, 8, 32])
def test_a_session_whose_jobs_hang_leaves_room_for_two_others(pool_of, threads):
    jobs = Jobs(hanging=(HUNG,))
    pool = pool_of(jobs, threads=threads)
    for _ in range(150):
        pool.submit(uuid4(), HUNG)
    assert becomes_true(lambda: jobs.running[HUNG] == threads - threads // 4)
    for group in (OTHER, THIRD):
        for _ in range(20):
            pool.submit(uuid4(), group)
    assert becomes_true(lambda: len(jobs.done) == 40)
    assert jobs.running[HUNG] == threads - threads // 4


def test_a_second_session_whose_jobs_hang_leaves_room_for_a_third(pool_of):
    jobs = Jobs(hanging=(HUNG, OTHER))
    pool = pool_of(jobs, threads=32)
    for group in (HUNG, OTHER):
        for _ in range(150):
            pool.submit(uuid4(), group)
    assert becomes_true(lambda: jobs.running[HUNG] == 24 and jobs.running[OTHER] == 6)
    for _ in range(20):
        pool.submit(uuid4(), THIRD)
    assert becomes_true(lambda: len(jobs.done) == 20)


def test_what_hung_goes_on_once_it_no_longer_hangs(pool_of):
    jobs = Jobs(hanging=(HUNG,))
    pool = pool_of(jobs, threads=4)
    keys = {uuid4() for _ in range(50)}
    for key in keys:
        pool.submit(key, HUNG)
    assert becomes_true(lambda: jobs.running[HUNG] == 3)
    jobs.go_on.set()
    assert becomes_true(lambda: {key for key, _ in jobs.done} == keys)


def test_a_single_conversation_does_not_wait_for_ten_thousand_of_another_session(pool_of):
    jobs = Jobs(hanging=(HUNG,))
    pool = pool_of(jobs, threads=1)
    pool.submit(uuid4(), HUNG)
    for _ in range(10_000):
        pool.submit(uuid4(), GROUP)
    single = uuid4()
    pool.submit(single, OTHER)
    jobs.go_on.set()
    assert becomes_true(lambda: (single, OTHER) in jobs.done)
    assert jobs.done.index((single, OTHER)) <= 3


def test_a_pool_with_one_thread_runs_everything_one_after_another(pool_of):
    jobs = Jobs()
    pool = pool_of(jobs, threads=1)
    keys = [uuid4() for _ in range(20)]
    for key in keys:
        pool.submit(key, GROUP)
    assert becomes_true(lambda: [key for key, _ in jobs.done] == keys)

"""The pooled backend: a process never holds more connections than it may, and never a dead one."""

import gc
import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection, transaction

from tests.support.background import becomes_true
from whatsapp_agent import postgres
from whatsapp_agent.postgres import base

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def max_idle_s() -> float:
    return base.MAX_IDLE_S


@pytest.fixture
def pool(monkeypatch, max_idle_s) -> Iterator[base.Pool]:
    """A pool of two connections, used by every thread of this test."""
    connection.close()
    pool = base.Pool(2, max_idle_s=max_idle_s)
    monkeypatch.setitem(base.pools, ("default", str(connection.settings_dict["NAME"])), pool)
    yield pool
    connection.close()
    pool.close_idle()


def backend() -> int:
    """The server's process id for this thread's connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def in_thread(work) -> list:
    """What `work` returned in a thread of its own."""
    returned = []
    thread = threading.Thread(target=lambda: returned.append(work()))
    thread.start()
    thread.join()
    return returned


def test_a_released_connection_is_used_by_the_next_thread(pool):
    mine = backend()
    postgres.release()

    def theirs() -> int:
        try:
            return backend()
        finally:
            connection.close()

    assert in_thread(theirs) == [mine]


def test_a_connection_in_a_transaction_is_not_released(pool):
    with transaction.atomic():
        mine = backend()
        postgres.release()
        assert backend() == mine


def use_two_at_once() -> list[int]:
    """Take two connections, then give them back; return their backends."""
    both_taken = threading.Barrier(2, timeout=30)

    def use() -> int:
        try:
            return backend()
        finally:
            both_taken.wait()
            connection.close()

    in_other_thread: list[int] = []
    thread = threading.Thread(target=lambda: in_other_thread.append(use()))
    thread.start()
    mine = use()
    thread.join()
    return [mine, *in_other_thread]


def still_open(backends: list[int]) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)", [backends])
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize(("max_idle_s", "expected"), [(0.0, 1), (3600.0, 2)])
@pytest.mark.usefixtures("pool")
def test_a_connection_that_was_idle_for_too_long_is_closed(expected):
    backends = use_two_at_once()
    assert becomes_true(lambda: still_open(backends) == expected)


def test_many_threads_that_release_share_few_connections(pool):
    seen, all_waiting = set(), threading.Barrier(20, timeout=30)

    def turn() -> None:
        seen.add(backend())
        postgres.release()
        all_waiting.wait()
        seen.add(backend())
        connection.close()

    threads = [threading.Thread(target=turn) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(seen) <= 2


def test_a_full_pool_raises_an_error_after_its_timeout(pool, monkeypatch):
    monkeypatch.setattr(base, "CONNECTION_TIMEOUT_S", 1)
    held = [pool.take(SimpleNamespace), pool.take(SimpleNamespace)]
    assert len(held) == 2
    with pytest.raises(OperationalError, match="in use"):
        connection.ensure_connection()


def test_a_thread_that_ends_without_closing_frees_its_connection(pool):
    for _ in range(5):
        assert len(in_thread(backend)) == 1
        gc.collect()


def test_an_unfinished_transaction_is_not_handed_to_the_next(pool, django_user_model):
    transaction.set_autocommit(False)
    django_user_model.objects.create(username="half")
    connection.close()

    assert connection.get_autocommit()
    assert not django_user_model.objects.exists()


def test_a_connection_the_server_closed_while_idle_is_not_lent(pool):
    mine, other = backend(), connection.copy()
    with other.cursor() as cursor:
        postgres.release()
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [mine])

    assert backend() != mine
    other.close()


def test_a_forked_child_starts_with_no_connections_of_its_parent(pool):
    backend()
    postgres.release()
    child = os.fork()
    if child == 0:
        os._exit(0 if not base.pools else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.fixture
def crowd() -> Iterator[base.Pool]:
    """The pool, with every place taken that the background may have."""
    pool, taken = base.pools["default", str(connection.settings_dict["NAME"])], 0
    while pool._free_in_background.acquire(blocking=False):
        taken += 1
    yield pool
    for _ in range(taken):
        pool._free_in_background.release()


def test_a_request_finds_a_connection_however_many_threads_work_in_the_background(crowd):
    assert backend()


def test_background_threads_get_no_more_than_their_share_of_connections(crowd, monkeypatch):
    monkeypatch.setattr(base, "CONNECTION_TIMEOUT_S", 1)

    def refused() -> bool:
        base.mark_background_thread()
        with pytest.raises(OperationalError, match="in use"):
            connection.ensure_connection()
        return True

    assert in_thread(refused) == [True]

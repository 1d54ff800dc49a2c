"""Celery workers: two of them, with a real Redis, answer what two web processes receive."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.application import Application, Worker
from tests.support.background import becomes_true
from tests.support.fake_zapw import FakeZapw
from tests.support.redis_server import RedisServer, require_redis

TOO_LONG_FOR_A_SWEEP_S = 3600
# As in docs/machines.md.
PLAIN_COMMAND = (
    "-m celery -A whatsapp_agent worker --queues turns,sends,housekeeping"
    " --without-gossip --without-mingle --without-heartbeat"
)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    require_redis()
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def application(configure: Callable[..., Application], redis: RedisServer) -> Iterator[Application]:
    with configure(
        REDIS_URL=redis.url, AGENT_DEBOUNCE_S=0, AGENT_SWEEP_S=TOO_LONG_FOR_A_SWEEP_S, WEB_PROCESSES=2
    ) as application:
        yield application


@pytest.fixture(scope="module")
def workers(application: Application) -> Iterator[list[Worker]]:
    plain = Worker(application, "plain", command=tuple(PLAIN_COMMAND.split()))
    with Worker(application, "first") as first, plain:
        yield [first, plain]


def listeners(redis: RedisServer) -> int:
    """How many connections wait for tasks."""
    return sum(client["cmd"] == "brpop" for client in redis.client.client_list())


def write(zapw: FakeZapw, *phones: str) -> None:
    for phone in phones:
        assert zapw.emit_message("Hello?", phone=phone) == [200]


def test_with_redis_no_engine_process_runs_beside_the_web_processes(application, workers):
    assert len(application.processes()) == 1 + 2


def test_workers_answer_through_redis_without_a_sweep(application, workers, zapw):
    before = len(zapw.sent)
    write(zapw, *[f"551198888770{number}" for number in range(8)])
    zapw.wait_for_sent(before + 8)


def test_a_queue_that_was_flushed_takes_wake_ups_again(application, workers, zapw, redis):
    redis.client.flushall()
    before = len(zapw.sent)
    write(zapw, "5511977770001", "5511977770002")
    zapw.wait_for_sent(before + 2)


def test_workers_that_lost_redis_take_wake_ups_again(application, workers, zapw, redis):
    listening = listeners(redis)
    assert listening
    redis.kill()
    redis.start()
    assert becomes_true(lambda: listeners(redis) >= listening)
    before = len(zapw.sent)
    write(zapw, "5511966660001", "5511966660002")
    zapw.wait_for_sent(before + 2)


def test_requests_do_not_wait_for_a_paused_redis_and_what_it_missed_is_swept_afterwards(
    application, workers, zapw, redis
):
    before = len(zapw.sent)
    started = time.monotonic()
    write(zapw, *[f"551195555001{number}" for number in range(8)])
    usual_s = time.monotonic() - started
    zapw.wait_for_sent(before + 8)
    before += 8
    redis.pause()
    try:
        started = time.monotonic()
        write(zapw, *[f"551195555000{number}" for number in range(8)])
        assert time.monotonic() - started < 3 + 3 * usual_s
        time.sleep(5)
    finally:
        redis.resume()
    # Whichever web process has failed to publish asks for a sweep with its next wake-up, after a while.
    for number in range(30):
        write(zapw, f"55119444400{number:02}")
        if becomes_true(lambda: len(zapw.sent) >= before + 8 + number + 1, timeout_s=1):  # noqa: B023
            break
    zapw.wait_for_sent(before + 8 + number + 1)

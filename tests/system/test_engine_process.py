"""The engine in a process of its own, beside the web process."""

from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.support.application import Application

TOO_LONG_FOR_A_SWEEP_S = 3600


@pytest.fixture(scope="module")
def application(configure: Callable[..., Application]) -> Iterator[Application]:
    with configure(
        AGENT_DEBOUNCE_S=0, AGENT_SWEEP_S=TOO_LONG_FOR_A_SWEEP_S, WEB_PROCESSES=2, ENGINE_PROCESSES=2
    ) as application:
        yield application


def children(application: Application) -> list[psutil.Process]:
    return sorted(application.processes()[1:], key=psutil.Process.create_time)


def test_a_message_is_answered_without_a_sweep_whichever_engine_process_it_belongs_to(application, zapw):
    before = len(zapw.sent)
    for number in range(8):
        assert zapw.emit_message("Hello?", phone=f"551198888770{number}", message_id=f"3EB0{number}") == [200]
    zapw.wait_for_sent(before + 8)


def test_many_turns_wait_for_the_model_at_once_in_few_threads(application, model, zapw):
    before = len(zapw.sent)
    asked = model.count
    model.hold()
    try:
        for number in range(40):
            zapw.emit_message("Hello?", phone=f"55119777700{number:02}", message_id=f"3EC0{number}")
        model.wait_for_requests(asked + 40)  # none of which is answered yet
        threads = [process.num_threads() for process in children(application)[:2]]
    finally:
        model.let_go()
    zapw.wait_for_sent(before + 40)
    assert max(threads) < 20


def test_an_engine_process_that_is_killed_is_started_again_and_answers(application, zapw):
    killed = children(application)[:2]
    for process in killed:
        process.kill()
    psutil.wait_procs(killed, timeout=10)
    before = len(zapw.sent)
    for number in range(4):
        assert zapw.emit_message("Still there?", phone=f"551196666770{number}", message_id=f"3ED0{number}") == [200]
    zapw.wait_for_sent(before + 4)
    assert len(children(application)) == 4

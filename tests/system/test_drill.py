"""The short form of `make drill`: the application is killed at four critical moments."""

from pathlib import Path

from benchmarks.drill.steps import (
    Step,
    after_a_tool_took_effect,
    after_the_bridge_took_it,
    after_the_turn_is_completed,
    before_a_handoff_is_completed,
    before_the_bridge_takes_it,
    step_by_step,
)
from benchmarks.drill.workers import CeleryDrill, celery_storm
from benchmarks.drill.world import Drill
from tests.support.redis_server import require_redis


def test_an_application_killed_in_the_middle_of_a_message_keeps_its_promises(
    tmp_path: Path, prepared_data: Path
) -> None:
    with Drill(tmp_path / "data", prepared=prepared_data, WEB_PROCESSES=1) as drill:
        checks = step_by_step(
            drill,
            [
                Step(after_a_tool_took_effect, "sent", 1, effects=1),
                Step(before_a_handoff_is_completed, "sent", 1, effects=1),
                Step(after_the_turn_is_completed, "sent", 1),
                Step(after_the_bridge_took_it, "unconfirmed", 1),
            ],
        )
    assert [check.line() for check in checks if not check.is_good] == []


def test_a_send_whose_answer_was_lost_is_settled_by_its_echo(tmp_path: Path, prepared_data: Path) -> None:
    with Drill(tmp_path / "data", prepared=prepared_data, bridge="waha", WEB_PROCESSES=1) as drill:
        checks = step_by_step(
            drill,
            [Step(before_the_bridge_takes_it, "unconfirmed", 0), Step(after_the_bridge_took_it, "unconfirmed", 1)],
        )
    assert [check.line() for check in checks if not check.is_good] == []


def test_celery_workers_keep_every_promise_while_redis_and_they_themselves_come_and_go(
    tmp_path: Path, prepared_data: Path
) -> None:
    require_redis()
    with CeleryDrill(tmp_path / "data", prepared=prepared_data) as drill:
        checks = celery_storm(drill, rounds=1, every_s=1, per_s=4, conversations=12)
    assert [check.line() for check in checks if not check.is_good] == []

"""The short form of `make drill`: two of the moments at which being killed is worst."""

from pathlib import Path

from benchmarks.drill import Drill, after_the_bridge_took_it, after_the_turn_is_settled, step_by_step


def test_an_application_killed_in_the_middle_of_a_message_keeps_its_promises(tmp_path: Path) -> None:
    with Drill(tmp_path / "data", WEB_PROCESSES=1) as drill:
        checks = step_by_step(
            drill, [(after_the_turn_is_settled, "sent", 1), (after_the_bridge_took_it, "unconfirmed", 1)]
        )
    assert [check.line() for check in checks if not check.is_good] == []

"""Kill the application at each step of the path of a message, each in a conversation of its own."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.drill.promises import promises
from benchmarks.drill.world import PERSON, TEA, UNDER_WAY, Check, Drill, wait_until


def before_the_commit(drill: Drill, phone: str) -> None:
    with drill.lock("messaging_conversation"):
        drill.write(phone)
        drill.wait_for_waiter("3EB0", "WITH bridge AS")
        drill.kill()


def after_the_commit(drill: Drill, phone: str) -> None:
    drill.write(phone).result(30)
    drill.kill()


def during_the_model_call(drill: Drill, phone: str) -> None:
    drill.model.latency_s = 1.0
    ask(drill, phone)
    drill.kill()
    drill.model.latency_s = 0.0


def before_the_turn_is_completed(drill: Drill, phone: str) -> None:
    drill.model.latency_s = 0.5
    ask(drill, phone)
    with drill.lock("messaging_turn"):
        drill.wait_for_waiter("even_if_stale", "json_to_recordset")
        drill.kill()
    drill.model.latency_s = 0.0


def after_the_turn_is_completed(drill: Drill, phone: str) -> None:
    drill.model.latency_s = 0.5
    ask(drill, phone)
    with drill.lock("sessions_app_bridge"):
        wait_until(lambda: drill.is_completed(phone), what="the turn is completed")
        drill.kill()
    drill.model.latency_s = 0.0


def before_the_bridge_takes_it(drill: Drill, phone: str) -> None:
    drill.bridge.fail("hang", times=1)
    drill.write(phone)
    wait_until(
        lambda: any(phone.encode() in request.body for request in list(drill.bridge.requests)),
        what="the bridge is asked",
    )
    drill.kill()


def after_the_bridge_took_it(drill: Drill, phone: str) -> None:
    drill.bridge.fail("hang_after", times=1)
    drill.write(phone)
    wait_until(lambda: bool(drill.texts_sent_to(phone)), what="the bridge takes it")
    drill.kill()


def before_the_status_is_saved(drill: Drill, phone: str) -> None:
    drill.bridge.fail("slow", times=1, wait_s=0.5)
    drill.write(phone)
    wait_until(lambda: bool(drill.texts_sent_to(phone)), what="the bridge takes it")
    with drill.lock("messaging_message"):
        drill.wait_for_waiter(drill.bridge.sent[-1]["id"], "item(id, provider_message_id")
        drill.kill()


def after_the_status_is_saved(drill: Drill, phone: str) -> None:
    drill.write(phone)
    wait_until(lambda: drill.reply_statuses(phone) in (["sent"], ["delivered"]), what="it is sent")
    drill.kill()


def after_a_tool_took_effect(drill: Drill, phone: str) -> None:
    drill.model.latency_s = 0.5
    drill.write(phone, TEA)
    wait_until(lambda: drill.effects(phone) == 1, what="the fact is kept")
    drill.kill()
    drill.model.latency_s = 0.0


def before_a_handoff_is_completed(drill: Drill, phone: str) -> None:
    drill.model.latency_s = 0.5
    ask(drill, phone, PERSON)
    with drill.lock("messaging_turn"):
        drill.wait_for_waiter("even_if_stale", "json_to_recordset")
        drill.kill()
    drill.model.latency_s = 0.0


def after_a_handoff_is_completed(drill: Drill, phone: str) -> None:
    drill.model.latency_s = 0.5
    ask(drill, phone, PERSON)
    with drill.lock("sessions_app_bridge"):
        wait_until(lambda: drill.is_completed(phone), what="the turn is completed")
        drill.kill()
    drill.model.latency_s = 0.0


def ask(drill: Drill, phone: str, text: str = "Message") -> None:
    """Wait until the model has the request and thinks."""
    drill.write(phone, text)
    wait_until(
        lambda: any(phone.encode() in asked.raw for asked in list(drill.model.requests)), what="the model is asked"
    )


@dataclass(frozen=True)
class Step:
    """What is to become of the reply, how often the bridge may have it, and how many effects tools are to have."""

    act: Callable[[Drill, str], None]
    status: str
    times: int
    effects: int = 0

    def final_status(self, drill: Drill) -> str:
        """With echoes and receipts, what the bridge has is known as delivered, also where its answer was lost."""
        return "delivered" if drill.has_receipts and self.times else self.status


STEPS = [
    Step(before_the_commit, "sent", 1),
    Step(after_the_commit, "sent", 1),
    Step(during_the_model_call, "sent", 1),
    Step(after_a_tool_took_effect, "sent", 1, effects=1),
    Step(before_the_turn_is_completed, "sent", 1),
    Step(before_a_handoff_is_completed, "sent", 1, effects=1),
    Step(after_the_turn_is_completed, "sent", 1),
    Step(after_a_handoff_is_completed, "sent", 1, effects=1),
    Step(before_the_bridge_takes_it, "unconfirmed", 0),
    Step(after_the_bridge_took_it, "unconfirmed", 1),
    Step(before_the_status_is_saved, "unconfirmed", 1),
    Step(after_the_status_is_saved, "sent", 1),
]


def step_by_step(drill: Drill, steps: list[Step]) -> list[Check]:
    """Kill at each step, in a conversation of its own, and start again; look when all has come to rest."""
    phones = [f"55119770000{number:02}" for number in range(len(steps))]
    for step, phone in zip(steps, phones, strict=True):
        step.act(drill, phone)
        drill.application.start()
        drill.wait_until_quiet("received", "queued", timeout_s=30)  # rows of this step must not affect the next one
    drill.wait_until_quiet(*UNDER_WAY, timeout_s=60)
    if drill.has_receipts:
        expected = [[step.final_status(drill)] for step in steps]
        with suppress(AssertionError):
            wait_until(lambda: [drill.reply_statuses(phone) for phone in phones] == expected, what="receipts are in")
    checks = []
    for step, phone in zip(steps, phones, strict=True):
        statuses, texts, effects = drill.reply_statuses(phone), drill.texts_sent_to(phone), drill.effects(phone)
        is_good = statuses == [step.final_status(drill)] and len(texts) == step.times and effects == step.effects
        detail = f"the reply is {', '.join(statuses) or 'missing'}; the bridge has it {len(texts)} times"
        if step.effects or effects:
            detail += f"; {effects} effects"
        checks.append(Check(f"killed {step.act.__name__.replace('_', ' ')}", is_good, detail))
    return checks + promises(drill)

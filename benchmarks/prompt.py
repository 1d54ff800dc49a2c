"""`python -m benchmarks.prompt`: how large prompts are over a conversation of 1,000 turns, and how alike they begin.

A contact writes, a model on a real socket answers, and each request's body is stored as it was sent: its size in bytes,
and how many of its first bytes are those of the request before. Folding happens beside the turns, as the engine has it.
With `--chart FILE` both are drawn.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

from benchmarks import scratch  # noqa: F401  # isort: skip  # first: models need it

from django.test import override_settings

from agent.bridges.addresses import read_address
from agent.bridges.events import Kind, MessageReceived
from agent.turns.summary import compact_early, schedule
from agent.turns.turn import take_turn
from benchmarks.chart import Panel, draw
from benchmarks.seed import NO_LOOP_LIMITS
from messaging.history.facts import remember
from messaging.inbound import receive_message
from messaging.models import Contact, Fact
from sessions_app.models import AgentProfile, Bridge
from sessions_app.services import ensure_default_bridges
from tests.support.fake_openai import FakeOpenAI

SYLLABLES = [consonant + vowel for consonant in "bklmnrt" for vowel in "aeiou"]
WORDS = ["".join(pair) for pair in product(SYLLABLES, repeat=2)]  # 1,225, the first is the most frequent
COMMONNESS = [1 / rank for rank in range(1, len(WORDS) + 1)]
TARGET = 0.9
STEADY_AFTER = 100  # turns: before, a prompt is still so short that what is new is a large part of it


@dataclass(frozen=True)
class Asked:
    """One turn's first request. `is_folded`: the summary is another than that of the turn before."""

    size: int
    share: float
    is_folded: bool


def sentence(dice: random.Random, fewest: int, most: int) -> str:
    return " ".join(dice.choices(WORDS, COMMONNESS, k=dice.randint(fewest, most))).capitalize() + "."


def same_beginning(before: bytes, raw: bytes) -> int:
    """How many bytes."""
    return next((at for at, (one, other) in enumerate(zip(before, raw, strict=False)) if one != other), len(before))


def talk(count: int, *, history_tokens: int) -> list[Asked]:
    """Let a conversation of so many turns happen."""
    dice = random.Random(7)
    ensure_default_bridges()
    AgentProfile.objects.update(debounce_s=0, debounce_max_s=0, history_tokens=history_tokens, **NO_LOOP_LIMITS)
    bridge = Bridge.objects.get(slug="simulator")
    address = read_address("5511988887777@s.whatsapp.net")
    asked: list[Asked] = []
    before, version = b"", 0
    due: list = []
    schedule.provide(due.append)
    with (
        FakeOpenAI(reply=lambda _: sentence(dice, 8, 60)) as model,
        override_settings(OPENAI_BASE_URL=model.base_url),
    ):
        for number in range(count):
            text = sentence(dice, 3, 40) if number % 50 else "Do you remember the " + sentence(dice, 8, 8)
            event = MessageReceived(
                session="prompt",
                provider_message_id=str(number),
                chat=address,
                sender=address,
                kind=Kind.TEXT,
                text=text,
            )
            received = receive_message(bridge=bridge, event=event)
            model.requests.clear()
            take_turn(received.conversation_id)
            raw = next(request.raw for request in model.requests if b"running summary" not in request.raw[:2000])
            conversation = Contact.objects.get().conversation
            share = same_beginning(before, raw) / len(raw)
            asked.append(Asked(size=len(raw), share=share, is_folded=conversation.summary_version != version))
            before, version = raw, conversation.summary_version
            while due:
                compact_early(due.pop())
            if number % 40 == 20:
                remember(
                    contact=conversation.contact, text=f"Fact {number}: {text[:60]}", proposed_by=Fact.Source.MODEL
                )
    schedule.provide(None)
    return asked


def report(asked: Sequence[Asked]) -> bool:
    folds = [number for number, one in enumerate(asked) if one.is_folded]
    steady = [one for one in asked[STEADY_AFTER:] if not one.is_folded]
    shares = sorted(one.share for one in steady)
    after_first = [one.size for one in asked[folds[0] :]] if folds else []
    print(f"{len(asked)} turns, {len(folds)} folds, the first at turn {folds[0] + 1 if folds else '-'}")
    print(f"size of a prompt in bytes: largest of all {max(one.size for one in asked):,}")
    if after_first:
        early, late = after_first[:200], after_first[-200:]
        print(f"  after the first fold: median {median(after_first):,.0f}, largest {max(after_first):,}")
        print(f"  the first 200 turns of these: median {median(early):,.0f}; the last 200: {median(late):,.0f}")
    print("share of a prompt that is the beginning of the one before, between folds:")
    print(f"  median {median(shares):.3f}, 5th percentile {shares[len(shares) // 20]:.3f}, least {shares[0]:.3f}")
    print(f"  at least {TARGET} in {sum(share >= TARGET for share in shares) / len(shares):.1%} of turns")
    return median(shares) >= TARGET


def chart(asked: Sequence[Asked]) -> str:
    """Both as an SVG, one above the other."""
    folds = [number for number, one in enumerate(asked) if one.is_folded]
    sizes = [(number, one.size / 1024) for number, one in enumerate(asked)]
    shares = [(number, 100 * one.share) for number, one in enumerate(asked)]
    return draw(
        [
            Panel("Size of the prompt (KiB); a mark for each summary", {"": sizes}, marks=folds),
            Panel("Share that is the beginning of the prompt before (%)", {"": shares}, max_y=100, marks=folds),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Size and sameness of prompts over a long conversation.")
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--history-tokens", type=int, default=4000, help="as the agent profile has it")
    parser.add_argument("--chart", type=Path, help="where to draw both, as SVG")
    given = parser.parse_args()
    asked = talk(given.turns, history_tokens=given.history_tokens)
    is_good = report(asked)
    if given.chart:
        given.chart.write_text(chart(asked))
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()

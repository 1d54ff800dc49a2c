"""`python -m benchmarks.recall FILE`: how often search finds the evidence for a question about a long conversation.

FILE is JSON in the format of LoCoMo (Maharana et al., 2024): a list of conversations, each with `conversation`
(`session_N`: [{speaker, dia_id, text, blip_caption?}], `session_N_date_time`) and `qa` (`question`, `evidence`: a list
of dia_id, `category`). Category 5 has no answer and is left out. Messages go the way of those a bridge delivers: one
speaker is the contact, the other types on the phone that holds the session; a picture's caption is part of the text.

any@k and all@k are the shares of questions for which any, or all, of the evidence is among the first k results.
"""

import argparse
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import scratch  # noqa: F401  # isort: skip  # first: models need it

from django.conf import settings

from agent.bridges.addresses import read_address
from agent.bridges.events import Kind, MessageReceived
from messaging.inbound import receive_message, receive_own_message
from messaging.models import Conversation
from messaging.search import embeddings
from messaging.search.ranking import search
from sessions_app.models import Bridge, WhatsAppSession
from sessions_app.services import ensure_default_bridges

DEPTHS = (5, 10, 20)
NO_ANSWER = 5
CATEGORIES = {1: "several facts", 2: "time", 3: "common sense", 4: "one fact"}
TARGET = 0.74


@dataclass
class Recall:
    """Number of questions, and for how many of them any or all of the evidence was found within each depth."""

    asked: int = 0
    any: dict[int, int] = field(default_factory=lambda: dict.fromkeys(DEPTHS, 0))
    all: dict[int, int] = field(default_factory=lambda: dict.fromkeys(DEPTHS, 0))

    def note(self, found: list[str], evidence: set[str]) -> None:
        self.asked += 1
        for depth in DEPTHS:
            within = evidence & set(found[:depth])
            self.any[depth] += bool(within)
            self.all[depth] += within == evidence

    def line(self, name: str) -> str:
        shares = [f"{of[depth] / self.asked:8.3f}" for depth in DEPTHS for of in (self.any, self.all)]
        return f"  {name:<24}{self.asked:>6}{''.join(shares)}"


HEADER = f"  {'':<24}{'asked':>6}" + "".join(f"{f'{kind}@{depth}':>8}" for depth in DEPTHS for kind in ("any", "all"))


def messages_of(sample: dict[str, Any]) -> Iterator[tuple[str, str, str, bool, datetime]]:
    """(dia_id, speaker, text, has a picture, when), in order."""
    talk = sample["conversation"]
    sessions = sorted((name for name in talk if re.fullmatch(r"session_\d+", name)), key=lambda name: int(name[8:]))
    for name in sessions:
        start = datetime.strptime(talk[f"{name}_date_time"], "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
        for number, line in enumerate(talk[name]):
            caption = line.get("blip_caption") or ""
            text = f"{line['text']}\n{caption}".strip()
            yield line["dia_id"], line["speaker"], text, bool(caption), start + timedelta(seconds=30 * number)


def receive_history(sample: dict[str, Any], *, number: int, bridge: Bridge) -> Conversation:
    """Receive a conversation's messages as history; each keeps its dia_id as the bridge's id."""
    contact = f"55119{number:08}@s.whatsapp.net"
    session = f"recall-{number}"
    messages = list(messages_of(sample))
    theirs = messages[0][1]
    for dia_id, speaker, text, has_picture, said_at in messages:
        address = read_address(contact, name=theirs)
        assert address is not None
        event = MessageReceived(
            session=session,
            provider_message_id=dia_id,
            chat=address,
            sender=address,
            kind=Kind.IMAGE if has_picture else Kind.TEXT,
            text=text,
            outbound=speaker != theirs,
            sent_at=said_at,
            is_history=True,
        )
        if event.outbound:
            receive_own_message(bridge=bridge, event=event)
            WhatsAppSession.objects.filter(bridge=bridge, name=session).update(display_name=speaker)
        else:
            receive_message(bridge=bridge, event=event)
    return Conversation.objects.select_related("session__agent_profile", "contact").get(session__name=session)


def questions_of(sample: dict[str, Any]) -> Iterator[tuple[str, set[str], int]]:
    for asked in sample["qa"]:
        evidence = {dia_id for each in asked["evidence"] for dia_id in re.findall(r"D\d+:\d+", each)}
        if evidence and asked["category"] != NO_ANSWER:
            yield asked["question"], evidence, asked["category"]


def measure(samples: list[dict[str, Any]], conversations: list[Conversation]) -> Recall:
    """Ask everything and print what was found; returns the recall over all."""
    total = Recall()
    by_category: defaultdict[int, Recall] = defaultdict(Recall)
    took_ms = []
    print(HEADER)
    for sample, conversation in zip(samples, conversations, strict=True):
        own = Recall()
        for question, evidence, category in questions_of(sample):
            began = time.perf_counter()
            hits = search(conversation=conversation, query=question, limit=max(DEPTHS))
            took_ms.append((time.perf_counter() - began) * 1000)
            found = [hit.message.provider_message_id or "" for hit in hits]
            for recall in (own, total, by_category[category]):
                recall.note(found, evidence)
        print(own.line(str(sample.get("sample_id", ""))))
    for category, recall in sorted(by_category.items()):
        print(recall.line(f"{category} {CATEGORIES.get(category, '')}"))
    print(total.line("all"))
    print(f"  median of a search: {median(took_ms):.1f} ms")
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--embeddings",
        nargs=2,
        metavar=("URL", "MODEL"),
        help="measure once more with this OpenAI-compatible server, say http://127.0.0.1:8000/v1 and its model",
    )
    options = parser.parse_args()
    samples = json.loads(options.file.read_text())
    ensure_default_bridges()
    bridge = Bridge.objects.get(slug="default")
    conversations = [receive_history(sample, number=number, bridge=bridge) for number, sample in enumerate(samples)]
    print("By words and neighbours")
    recall = measure(samples, conversations)
    if options.embeddings:
        settings.OPENAI_BASE_URL, settings.OPENAI_EMBEDDING_MODEL = options.embeddings
        began = time.perf_counter()
        count = 0
        while settled := embeddings.embed_waiting():
            count += settled
        print(f"Fused with meaning ({count} messages embedded in {time.perf_counter() - began:.0f} s)")
        measure(samples, conversations)
    reached = recall.any[10] / recall.asked
    print(f"  any@10 is {reached:.3f}; {TARGET} {'is met' if reached >= TARGET else 'IS MISSED'}")
    return 0 if reached >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())

"""Distorted webhook requests on their whole way: acknowledged, and nothing stored that should not be."""

import hashlib
import hmac
import json
import random
import re
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from messaging.models import ContactAlias, Message
from sessions_app.models import Bridge
from tests.support.bridges.described import ANA, LID, OWN, evolution, evolution_message, waha, waha_message, zapw
from tests.support.bridges.described import zapw_message as message_of_zapw

pytestmark = pytest.mark.django_db

PAYLOADS = Path(__file__).parents[3] / "payloads"
KEY = "a key"
REQUESTS = 60  # of each bridge, of some 100,000
DIGITS_OF_LIDS = re.compile(r"([0-9]{5,20})(?::[0-9]+)?@lid")
OTHERS = (None, True, 7, -1, 10**30, "", "x", "\x00\ud800", "x" * 3000, [], {}, [None], {"id": "3EB0X"})
ADDRESSES = (
    LID,
    "281474976710655:12@lid",
    "5511977776666:7@s.whatsapp.net",
    "120363041234567890@g.us",
    "status@broadcast",
    "12036304@newsletter",
    "@lid",
    f"{OWN}@c.us",
    "BR.ENT.445566",
    "0",
)


def recorded(kind: str) -> list[Any]:
    index = json.loads((PAYLOADS / kind / "index.json").read_text())["fixtures"]
    files = [one["file"] for one in index if one["kind"] == "webhook" and one["file"].endswith(".json")]
    return [recent((PAYLOADS / kind / file).read_text()) for file in files]


def recent(payload: str) -> Any:
    """Return a payload of which each time is now: an old message would not be answered whatever it is."""
    now = int(time.time())
    return json.loads(re.sub(r"\b179[0-9]{7}([0-9]{3})?\b", lambda found: f"{now}{found[1] or ''}", payload))


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (container, key) within `value`."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in list(inner):
        yield value, key
        yield from places(one)


def distorted(dice: random.Random, payload: Any) -> Any:
    """Return a payload with one place changed: mostly an address, which decides who is written to."""
    payload = deepcopy(payload)
    found = list(places(payload))
    with_address = [(each, key) for each, key in found if isinstance(each[key], str) and "@" in each[key]]
    if with_address and dice.random() < 0.5:
        container, key = dice.choice(with_address)
        address = dice.choice(ADDRESSES)
        container[key] = re.sub(r"(?<=_)[^_]*@[^_]*", address, container[key]) if "_" in container[key] else address
        return payload
    container, key = dice.choice(found)
    if dice.random() < 0.3:
        del container[key]
    elif isinstance(container[key], list) and dice.random() < 0.5:
        container[key] = [None, "x", *container[key], {}, *container[key]]
    else:
        container[key] = deepcopy(dice.choice(OTHERS))
    return payload


@pytest.fixture
def post(client: Client, profile: Any) -> Any:
    def post(kind: str, payload: Any) -> Any:
        bridge = Bridge.objects.filter(slug=kind).first() or Bridge.objects.create(
            slug=kind,
            kind=kind,
            webhook_secret="the secret in the path",
            signing_key=KEY if kind == "cloud" else "",
            base_url="http://127.0.0.1:9",
        )
        body = json.dumps(payload).encode()
        signature = hmac.new(KEY.encode(), body, hashlib.sha256).hexdigest()
        headers = {"X-Hub-Signature-256": f"sha256={signature}"}
        return client.post(bridge.webhook_path, body, content_type="application/json", headers=headers)

    return post


@pytest.mark.parametrize("kind", ["zapw", "waha", "evolution", "cloud"])
def test_a_distorted_request_is_acknowledged_and_answers_nobody_it_should_not(post: Any, kind: str) -> None:
    dice = random.Random(20261128)
    payloads = recorded(kind)
    answered = 0
    for _ in range(REQUESTS):
        payload = distorted(dice, dice.choice(payloads))
        with transaction.atomic():
            assert post(kind, payload).status_code == 200, payload
            hidden = {f"+{digits}" for digits in DIGITS_OF_LIDS.findall(json.dumps(payload))}
            assert not ContactAlias.objects.filter(kind="phone", value__in=hidden).exists(), payload
            to_answer = Message.objects.filter(unanswered="", direction="inbound").exclude(status="handled")
            for message in to_answer.select_related("conversation__contact"):
                answered += 1
                contact = message.conversation.contact
                assert not contact.is_group, payload
                assert contact.phone != f"+{OWN}", payload
                assert not message.conversation.address.endswith(("@g.us", "@broadcast", "@newsletter")), payload
            transaction.set_rollback(True)
    assert answered > REQUESTS / 20  # messages got through, and were looked at


OURSELVES = {
    "zapw": zapw("message.received", message_of_zapw(**{"from": f"{OWN}@s.whatsapp.net"})),
    "waha": waha("message", waha_message(id=f"false_{OWN}@c.us_3EB0A1", **{"from": f"{OWN}@c.us"})),
    "waha, hidden": waha(
        "message", waha_message(id="false_99887766554433@lid_3EB0A1", **{"from": "99887766554433@lid"})
    ),
    "evolution": evolution(
        "messages.upsert",
        evolution_message({"conversation": "Oi"}, key={"remoteJid": "551199990000@s.whatsapp.net"}),
    ),
}


@pytest.mark.parametrize("case", OURSELVES)
def test_what_our_own_number_wrote_is_stored_and_not_answered(post: Any, case: str) -> None:
    payload = recent(json.dumps(OURSELVES[case]))

    assert post(case.partition(",")[0], payload).json()["kept"] == 1

    assert Message.objects.get().unanswered == "kind"


def test_a_hidden_number_of_ours_that_is_none_loses_no_message(post: Any) -> None:
    typed = waha("message.any", waha_message(id=f"true_{ANA}@c.us_3EB0A1", fromMe=True))
    typed["me"]["lid"] = "9" * 3000 + "@lid"

    assert post("waha", typed).json()["kept"] == 1

    assert Message.objects.get().author == "phone"

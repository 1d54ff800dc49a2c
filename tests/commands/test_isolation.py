"""Two owners, each with a number and two contacts; one person writes to both numbers. Nothing crosses over."""

import io
import json
from dataclasses import dataclass

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command

from accounts.models import User
from agent.turns.turn import take_turn
from commands.models import CommandRun
from commands.registry import all_commands
from messaging.inbound import receive_message
from messaging.models import Conversation, Fact, Message
from sessions_app.models import AgentProfile, Bridge, Membership, WhatsAppSession
from tests.conftest import as_user, message_event
from tests.support.fake_openai import FakeOpenAI

ANA, BIA = "5511988887777@s.whatsapp.net", "5511988886666@s.whatsapp.net"
NAMES = {ANA: "Ana", BIA: "Bia"}
EVERYTHING = ["list_facts", "search_messages", "summarize_chat", "extract_tasks", "conversation_stats", "forget_fact"]


@dataclass
class Shop:
    """A number with its owner, who writes from `phone` and logs in as `user`."""

    bridge: Bridge
    session: WhatsAppSession
    user: User
    phone: str
    count: int = 0

    def receive(self, text: str, *, chat: str) -> Conversation:
        """Receive a message, answer it, and return its conversation."""
        self.count += 1
        event = message_event(text, number=self.count, chat=chat, session=self.session.name)
        received = receive_message(bridge=self.bridge, event=event)
        conversation = Conversation.objects.get(pk=received.conversation_id)
        if chat in NAMES:
            conversation.contact.name = NAMES[chat]
            conversation.contact.save(update_fields=["name"])
        while take_turn(conversation.pk) is not None:
            pass
        return conversation

    def reply(self, *, chat: str) -> str:
        rows = Message.objects.filter(session=self.session, conversation__address=chat, direction="outbound")
        return rows.latest("created_at").text


@pytest.fixture
def shops(bridge: Bridge, profile: AgentProfile, model: FakeOpenAI) -> tuple[Shop, Shop]:
    """The first knows secrets: about Ana, who writes to the second too, and about Bia."""
    AgentProfile.objects.update(tools=EVERYTHING)
    made = []
    for name, phone in (("tea", "5511911110000"), ("cake", "5511922220000")):
        session = WhatsAppSession.objects.create(
            bridge=bridge, name=name, status="connected", owner_phone=f"+{phone}", agent_profile=profile
        )
        user = User.objects.create_user(name, password="a long password 1")
        user.groups.add(Group.objects.get_or_create(name="operator")[0])
        Membership.objects.create(session=session, user=user)
        made.append(Shop(bridge=bridge, session=session, user=user, phone=f"{phone}@s.whatsapp.net"))
    tea, cake = made
    for chat in (ANA, BIA):
        tea.receive("The secret word is zebra", chat=chat)
        tea.receive(f"/remember {NAMES[chat]} keeps a zebra", chat=chat)
        cake.receive("Hello", chat=chat)
    assert Fact.objects.count() == 2
    return tea, cake


@pytest.mark.parametrize(
    "typed", ["/facts", "/search zebra", "/facts @Bia", "/summarize", "/status", "/stats", "#facts"]
)
def test_a_contact_gets_nothing_that_another_number_knows(shops, typed):
    _, cake = shops
    cake.receive(typed, chat=ANA)
    assert "zebra" not in cake.reply(chat=ANA)


def test_a_contact_cannot_delete_facts_about_another(shops):
    tea, cake = shops
    for shop, chat in ((tea, BIA), (cake, ANA), (cake, BIA)):
        for fact in Fact.objects.exclude(contact__conversation__address=chat, contact__session=shop.session):
            shop.receive(f"/forget {fact.pk}", chat=chat)
            assert shop.reply(chat=chat).startswith("No such fact")
        shop.receive("/forget all", chat=chat)
    assert list(Fact.objects.filter(forgotten_at=None).values_list("text", flat=True)) == ["Ana keeps a zebra"]


@pytest.mark.parametrize("chat", [ANA, BIA])
def test_the_model_sees_one_contact_of_one_number_only(shops, model, chat):
    tea, cake = shops
    foreign = [str(fact.pk) for fact in Fact.objects.all()]
    conversation = tea.receive("Hi", chat=chat)
    model.requests.clear()
    model.call_tools(*[(name, {"words": "zebra"} if name == "search_messages" else {}) for name in EVERYTHING[:5]])
    model.call_tools(*[("forget_fact", {"fact": pk}) for pk in foreign])
    model.call_tools(("list_facts", {"conversation": str(conversation.pk)}), ("list_facts", {"contact": chat}))
    model.say("Well.")
    cake.receive("What do you know of me and of others?", chat=chat)
    assert "keeps a" not in str([request.body for request in model.requests])
    assert "secret word" not in str([request.body for request in model.requests])
    assert Fact.objects.filter(forgotten_at=None).count() == 2


@pytest.mark.parametrize("typed", ["/facts @Ana", "/search @+5511988887777 zebra", "/summarize @Ana", "/forget @Ana 1"])
def test_an_owner_reaches_only_conversations_of_their_own_number(shops, typed):
    tea, cake = shops
    cake.receive(typed, chat=cake.phone)
    assert "keeps a" not in cake.reply(chat=cake.phone)
    tea.receive("/facts @Ana", chat=tea.phone)
    assert tea.reply(chat=tea.phone) == "1. Ana keeps a zebra"


def test_an_owner_is_an_ordinary_contact_at_another_number(shops):
    tea, cake = shops
    tea.receive("/persona obey me", chat=cake.phone)
    tea.receive("/facts @Ana", chat=cake.phone)
    assert CommandRun.objects.filter(name="persona").get().status == "refused"
    assert "zebra" not in tea.reply(chat=cake.phone)


@pytest.mark.parametrize("command", all_commands(), ids=lambda command: command.name)
def test_staff_of_one_owner_cannot_run_commands_for_another(shops, command):
    tea, cake = shops
    before = CommandRun.objects.count()
    conversation = Conversation.objects.get(session=tea.session, address=ANA)
    body = {"conversation": str(conversation.pk), "arguments": {}}
    answer = as_user(cake.user).post(f"/api/v1/commands/{command.name}/", body, format="json")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert CommandRun.objects.count() == before


def test_staff_of_one_owner_find_nothing_of_another(shops):
    tea, cake = shops
    client = as_user(cake.user)
    conversation = Conversation.objects.get(session=tea.session, address=ANA)
    assert client.get(f"/api/v1/conversations/{conversation.pk}/search/", {"q": "zebra"}).status_code == 404
    for area in ("messages", "turns", "commands/runs", "events", "contacts", "conversations"):
        assert "zebra" not in client.get(f"/api/v1/{area}/").content.decode()
    own = Conversation.objects.get(session=cake.session, address=ANA)
    found = client.get(f"/api/v1/conversations/{own.pk}/search/", {"q": "zebra"}).json()["results"]
    assert found == []


def test_the_terminal_shows_only_the_facts_of_the_conversation_it_names(shops):
    _, cake = shops
    output = io.StringIO()
    conversation = Conversation.objects.get(session=cake.session, address=ANA)
    call_command("run_command", "facts", conversation=conversation.pk, json=True, stdout=output)
    assert json.loads(output.getvalue()) == {"facts": []}

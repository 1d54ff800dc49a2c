"""The week before the shop's day: short questions and answers, so that the dashboard has something to count."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random

from accounts.models import User
from messaging.models import Contact, ContactAlias, Conversation, Message, Turn
from sessions_app.models import AgentProfile, WhatsAppSession

DAYS = 7
CUSTOMERS = (
    "Amara Nwosu", "Daniel Roth", "Freya Lindqvist", "George Hale", "Inês Carvalho", "Kofi Mensah", "Lucy Tan",
    "Mateo Rivas", "Nadia Karim", "Olivia Grant", "Pavel Novak", "Rosa Bianchi", "Samir Aziz", "Una Byrne",
)  # fmt: skip
QUESTIONS = (
    ("Are you open on Saturday?", "Yes, on Saturday we are open from 9:00 to 18:00."),
    ("What does a full service cost?", "A full service costs £95. It takes two to three days."),
    ("Do you sell gift cards?", "We do: for £25, £50 or any other amount. They never expire."),
    ("Can I bring my bike without an appointment?", "Of course. For small repairs you can often wait for it."),
    ("Do you have inner tubes in 26 inches?", "Yes, both valves are here, for £6.50 each."),
    ("Is there a car park near you?", "There is one behind the bakery; the first hour is free."),
    ("How long is the guarantee on the e-bikes?", "Two years on the bicycle and on the battery."),
    ("Can you fit a basket?", "Yes. A basket costs from £28, and we fit it while you wait."),
)
BY_A_PERSON_EVERY = 6


def write_week(*, now: datetime, session: WhatsAppSession, profile: AgentProfile, people: list[User]) -> None:
    """Create a conversation for each customer, which is done. The same each time, at times before `now`."""
    chance = Random(5)  # noqa: S311  nothing to guess
    for number, name in enumerate(CUSTOMERS):
        phone = f"+44770090{number + 200:04d}"
        contact = Contact.objects.create(session=session, name=name, phone=phone)
        ContactAlias.objects.create(session=session, contact=contact, kind=ContactAlias.Kind.PHONE, value=phone)
        conversation = Conversation.objects.create(
            session=session, contact=contact, address=f"{phone[1:]}@s.whatsapp.net", done_reason="answered"
        )
        moments = sorted(_moments(chance, now=now))
        for at, (question, answer) in zip(moments, chance.sample(QUESTIONS, len(moments)), strict=True):
            writer = people[number % len(people)] if chance.randrange(BY_A_PERSON_EVERY) == 0 else None
            _exchange(conversation, at, question, answer, profile=profile, writer=writer)
        Conversation.objects.filter(pk=conversation.pk).update(
            last_message_at=moments[-1], done_at=moments[-1] + timedelta(minutes=30)
        )


def _moments(chance: Random, *, now: datetime) -> Iterator[datetime]:
    """Yield when somebody asked: on different days, the last one hours ago, more often as the shop opens and closes."""
    for days in chance.sample(range(DAYS), chance.randint(2, 5)):
        yield now - timedelta(days=days, minutes=60 + chance.triangular(0, 540, chance.choice((60, 480))))


def _exchange(
    conversation: Conversation, at: datetime, question: str, answer: str, *, profile: AgentProfile, writer: User | None
) -> None:
    answered_at = at + (timedelta(minutes=7) if writer else timedelta(seconds=5))
    turn = None
    if writer is None:
        turn = Turn.objects.create(
            conversation=conversation, agent_profile=profile, profile_version=profile.version, model="demo-model",
            outcome=Turn.Outcome.ANSWERED, steps=1, prompt_tokens=640, completion_tokens=28, model_ms=900,
            started_at=at, created_at=answered_at,
        )  # fmt: skip
    common = {"session": conversation.session, "conversation": conversation, "turn": turn}
    key = f"demo-{conversation.pk.hex[-12:]}-{at.timestamp():.0f}"
    Message.objects.create(
        **common, direction="inbound", author="contact", status=Message.Status.HANDLED, sender=conversation.contact,
        text=question, said_at=at, written_at=at, created_at=at, provider_message_id=f"{key}-q",
    )  # fmt: skip
    Message.objects.create(
        **common, direction="outbound", author="staff" if writer else "agent", status=Message.Status.READ,
        sent_by=writer, text=answer, said_at=answered_at, written_at=answered_at, created_at=answered_at,
        sent_at=answered_at, provider_message_id=f"{key}-a",
    )  # fmt: skip

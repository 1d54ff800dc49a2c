"""A small bicycle shop as demonstration data: what its inbox looks like on an ordinary day.

Nobody in it exists. The numbers are of the range that Ofcom keeps free for drama: +44 7700 900000 to 900999.
"""

import io
import wave
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.contrib.auth.models import Group
from django.core.files.base import ContentFile
from django.db import transaction
from django.db.models.fields.files import FieldFile
from django.utils import timezone
from PIL import Image, ImageDraw

from accounts.models import User
from messaging.knowledge.entries import create_knowledge
from messaging.management.demo_week import write_week
from messaging.models import (
    Contact,
    ContactAlias,
    Conversation,
    Fact,
    Knowledge,
    Media,
    Message,
    MessageTemplate,
    Note,
    SavedReply,
    ToolCall,
    Turn,
)
from sessions_app.drafts import save_draft
from sessions_app.models import AgentProfile, Bridge, Membership, WhatsAppSession
from sessions_app.profiles import create_profile
from sessions_app.services import ensure_default_bridges, register_session
from whatsapp_agent.errors import Conflict

SHOP = "Harbour Street Cycles"
WORKSHOP = "Harbour Street Workshop"
INSTRUCTIONS = (
    f"You answer for {SHOP}, a bicycle shop with a workshop. Open Tuesday to Saturday, 9:00 to 18:00. "
    "A basic service costs £45, a full one £95. Never promise a day for a repair: the workshop decides. "
    "Ask a person to help with complaints and refunds."
)
SAVED_REPLIES = {
    "hours": "Hello {name}! We are open Tuesday to Saturday, 9:00 to 18:00.",
    "address": "You find us at 12 Harbour Street, beside the bakery.",
    "thanks": "Thank you, {name}. Have a safe ride!",
}
DRAFTED = "Offer a place in the workshop on the same day when somebody cannot ride home."
KNOWLEDGE = {
    "Which brands of e-bikes do you repair?": "All with a motor of Bosch or Shimano. On others the mechanics.",
    "Can a bicycle be delivered?": "Within ten miles for £15, on Wednesdays and Fridays. Above £500 it is free.",
    "How long is a reserved bicycle kept?": "Two working days, without a deposit.",
}
TEMPLATES = [
    ("repair_ready", "Hello {{1}}, your bicycle is ready. You can collect it until {{2}}.", ["1", "2"]),
    ("service_reminder", "Hello {{1}}, your last service was a year ago. Shall we find a day for the next one?", ["1"]),
]
COLLEAGUES = {"mara": "Mara Lind", "jonas": "Jonas Bell"}
Status = Message.Status


class Line(NamedTuple):
    """A message, `ago` minutes before now. `who`: a contact, the agent, or the name of a colleague."""

    ago: float
    who: str
    text: str
    more: dict[str, Any] = {}


class Chat(NamedTuple):
    name: str
    lines: list[Line]
    state: dict[str, Any] = {}
    notes: list[tuple[float, str, str]] = []
    facts: list[str] = []
    session: str = SHOP
    failed: str = ""  # why the agent could not answer the last message


def chats(now: datetime) -> list[Chat]:
    return [
        Chat("Priya Raman", [
            Line(1503, "contact", "Hi! Do you have the *Tern 24* in green? 🚲"),
            Line(1502, "agent", "Hello Priya! Yes, the Tern 24 is here in green and in blue, for £349."),
            Line(1495, "contact", "Yes please. Could you send a photo?"),
            Line(1490, "mara", "This one came in this morning", {"media": "image"}),
            Line(1488, "contact", "Lovely!! My daughter will be thrilled", {"quotes": -1}),
            Line(52, "contact", "", {"media": "voice"}),
            Line(51, "agent", "We can keep it until Saturday. A helmet in size S is £24.90; shall I keep one too?"),
            Line(4, "contact", "Yes, the yellow one. Can I pay by card when I pick it up?"),
            Line(3, "agent", "Of course: card, cash or transfer. We are here until 18:00 today.",
                 {"status": Status.DELIVERED}),
        ], {"labels": ["sale", "kids"]}, [(1489, "mara", "Green one is in the back, tag 118.")],
            ["Buys a bicycle for her daughter, who is eight.", "Prefers green."]),
        Chat("Tom Okafor", [
            Line(190, "contact", "I picked my bike up yesterday and the brake still squeals. I paid £95 for that!"),
            Line(189, "agent", "I am sorry to hear that, Tom. I have asked a colleague to look into it at once.",
                 {"turn": "tools"}),
            Line(6, "contact", "Is anybody there?"),
            Line(5, "contact", "I need the bike for work tomorrow"),
        ], {"needs_attention": True, "attention_reason": "handoff", "control": "human", "unread_count": 2,
            "attention_note": "Brake squeals after a full service for £95. Wants it mended today, or the money back.",
            "labels": ["complaint"]}),
        Chat("Sofia Marchetti", [
            Line(17, "contact", "Do you have child seats that fit on a rear rack?"),
        ], {"needs_attention": True, "attention_reason": "turn_failed", "unread_count": 1,
            "attention_note": "The model did not answer in time."}, failed="timeout: no answer in 60 s"),
        Chat("Elin Sandberg", [
            Line(75, "contact", "Hej! Is my wheel ready?"),
            Line(74, "agent", "Hello Elin! I cannot see that from here; the workshop will tell you."),
            Line(31, "jonas", "It is! The spokes were all replaced, and I trued the front one too."),
            Line(29, "contact", "Super, I will come at five 👍"),
        ], {"control": "human", "controlled_by": "jonas", "assigned_to": "jonas", "unread_count": 1,
            "labels": ["workshop"]}, session=WORKSHOP),
        Chat("Marcus Webb", [
            Line(300, "contact", "Where exactly are you?"),
            Line(299, "agent", "", {"location": {"latitude": 50.7989, "longitude": -1.0912, "name": SHOP,
                                                 "address": "12 Harbour Street"}}),
            Line(298, "agent", "The entrance is beside the bakery. There is a stand for bicycles in front of it."),
            Line(21, "contact", "Found it, thanks!"),
            Line(20, "agent", "See you soon, Marcus!"),
        ]),
        Chat("Yuki Tanaka", [
            Line(410, "contact", "Could you send me the price list for e-bikes?"),
            Line(409, "mara", "Here it is", {"media": "document"}),
            Line(44, "contact", "Thank you. Is the *city* model also there with a step-through frame, "
                 "and could I try both on the same day? I am in town on Thursday."),
        ], {"control": "human", "controlled_by": "mara", "assigned_to": "mara", "unread_count": 1,
            "labels": ["e-bike", "sale"]}),
        Chat("Beatriz Moura", [
            Line(95, "contact", "Olá, vocês falam português?"),
            Line(94, "agent", "Sim, claro! Em que posso ajudar?"),
            Line(93, "contact", "Quero alugar duas bicicletas no fim de semana"),
            Line(92, "agent", "O aluguel custa £18 por dia e bicicleta, com capacete. Para que dia seria?"),
            Line(60, "contact", "Sábado, das 10h às 16h"),
            Line(59, "agent", "Anotado: sábado, duas bicicletas, das 10h às 16h. Um colega confirma até amanhã."),
        ], {"labels": ["rental"]}),
        Chat("Family ride 🚴", [
            Line(130, "contact", "Ten of us on Sunday! Who needs a helmet?"),
            Line(128, "contact", "Two small ones for the twins please"),
        ], {"is_group": True}),
        Chat("Hannah Price", [
            Line(240, "contact", "Can I get a receipt for the lights?"),
            Line(239, "agent", "I will send it in a moment.", {"status": Status.FAILED,
                 "error_code": "refused", "error": "The bridge refused the message."}),
        ], {"needs_attention": True, "attention_reason": "not_sent",
            "attention_note": "A message was not sent: the bridge refused it."}),
        Chat("Oskar Nyman", [
            Line(520, "contact", "Do you repair coaster brakes?"),
            Line(519, "agent", "Yes, we do. Most take less than an hour, from £30."),
            Line(505, "contact", "Perfect, see you Friday"),
        ], {"snoozed_until": now + timedelta(hours=20)}, [(500, "jonas", "Order the hub beforehand.")],
            session=WORKSHOP),
        Chat("Leila Haddad", [
            Line(700, "contact", "My order 4471 has not arrived"),
            Line(690, "mara", "The courier had the wrong house number. It comes tomorrow, and the delivery is free."),
            Line(640, "contact", "Great, thank you Mara!"),
        ], {"done_at": now - timedelta(minutes=600), "done_reason": "solved", "assigned_to": "mara"}),
        Chat("Ivo Petrov", [
            Line(1600, "contact", "How much is a basic service?"),
            Line(1599, "agent", "£45. It covers brakes, gears, chain and tyres."),
        ]),
        Chat("Grace Adeyemi", [
            Line(2900, "contact", "Are you open on Monday?"),
            Line(2899, "agent", "We are closed on Mondays. On Tuesday we open at 9:00."),
            Line(2890, "contact", "ok thx"),
        ], {"unread_count": 0}),
        Chat("Noah Fischer", [
            Line(4300, "contact", "Which lock would you recommend for the city?"),
            Line(4299, "agent", "For a bicycle that stays outside all day I would take the chain lock for £59: "
                 "it resists cutters and fits on the frame."),
        ]),
    ]  # fmt: skip


def create_demo_data(*, force: bool = False) -> bool:
    """Create the shop with its conversations; return False if it is there already. Raises Conflict.

    Refused in a database with conversations of others, unless `force`. Its sessions are of the simulator: nothing that
    is written to them leaves.
    """
    files: list[FieldFile] = []
    try:
        with transaction.atomic():
            return _create(files, force=force)
    except BaseException:  # the rows are rolled back
        for file in files:
            file.delete(save=False)
        raise


def _create(files: list[FieldFile], *, force: bool) -> bool:
    ensure_default_bridges()
    simulator = Bridge.objects.get(slug=Bridge.SIMULATOR)
    if WhatsAppSession.objects.filter(bridge=simulator, name=SHOP).exists():
        return False
    if not force and Conversation.objects.exists():
        raise Conflict("This database has conversations. Use an empty one, or --force to add a shop to it.")
    profile = AgentProfile.objects.filter(name="Shop assistant").first() or create_profile(
        name="Shop assistant", purpose="Answers customers of the shop.", instructions=INSTRUCTIONS
    )
    sessions = {}
    for number, name in enumerate((SHOP, WORKSHOP)):
        sessions[name] = register_session(bridge=simulator, name=name, phone=f"+44770090000{number}")
        WhatsAppSession.objects.filter(pk=sessions[name].pk).update(agent_profile=profile)
    people = {name: _colleague(name, full_name, list(sessions.values())) for name, full_name in COLLEAGUES.items()}
    for shortcut, text in SAVED_REPLIES.items():
        SavedReply.objects.get_or_create(session=sessions[SHOP], shortcut=shortcut, defaults={"text": text})
    for title, text in KNOWLEDGE.items():
        if not Knowledge.objects.filter(agent_profile=profile, title=title).exists():
            create_knowledge(agent_profile=profile, title=title, text=text, by=people["mara"])
    save_draft(profile=profile, by=people["mara"], instructions=f"{INSTRUCTIONS} {DRAFTED}")
    now = timezone.now()
    for name, body, placeholders in TEMPLATES:
        MessageTemplate.objects.create(
            session=sessions[SHOP], account="1234567890", name=name, language="en_GB", status="APPROVED",
            category="UTILITY", body=body, placeholders=placeholders, synced_at=now,
        )  # fmt: skip
    write_week(now=now, session=sessions[SHOP], profile=profile, people=list(people.values()))
    for number, chat in enumerate(chats(now)):
        writer = _Writer(now=now, people=people, profile=profile, session=sessions[chat.session], files=files)
        writer.write(chat, number=number)
    return True


def _colleague(username: str, full_name: str, sessions: list[WhatsAppSession]) -> User:
    """Return a colleague, who cannot log in until an administrator sets a password."""
    first_name, _, last_name = full_name.partition(" ")
    user, is_new = User.objects.get_or_create(
        username=username, defaults={"first_name": first_name, "last_name": last_name, "is_staff": True}
    )
    if is_new:
        user.set_unusable_password()
        user.save(update_fields=["password"])
        user.groups.add(Group.objects.get_or_create(name="operator")[0])
    for session in sessions:
        Membership.objects.get_or_create(session=session, user=user)
    return user


class _Writer:
    def __init__(
        self,
        *,
        now: datetime,
        people: dict[str, User],
        profile: AgentProfile,
        session: WhatsAppSession,
        files: list[FieldFile],
    ) -> None:
        """`files` is given the files that are stored."""
        self.now, self.people, self.profile, self.session, self.files = now, people, profile, session, files

    def write(self, chat: Chat, *, number: int) -> None:
        state = {name: self.people.get(value, value) if name.endswith(("_by", "_to")) else value
                 for name, value in chat.state.items()}  # fmt: skip
        is_group = state.pop("is_group", False)
        phone = "" if is_group else f"+44770090{number + 100:04d}"
        contact = Contact.objects.create(session=self.session, name=chat.name, phone=phone, is_group=is_group)
        if phone:
            ContactAlias.objects.create(
                session=self.session, contact=contact, kind=ContactAlias.Kind.PHONE, value=phone
            )
        address = f"{phone[1:]}@s.whatsapp.net" if phone else f"1203630000000{number:05d}@g.us"
        last_at = self.now - timedelta(minutes=chat.lines[-1].ago)
        conversation = Conversation.objects.create(
            session=self.session, contact=contact, address=address, last_message_at=last_at, **state
        )
        for text in chat.facts:
            Fact.objects.create(contact=contact, text=text, proposed_by=Fact.Source.MODEL)
        for ago, author, text in chat.notes:
            note = Note.objects.create(conversation=conversation, author=self.people[author], text=text)
            Note.objects.filter(pk=note.pk).update(created_at=self.now - timedelta(minutes=ago))
        written: list[Message] = []
        for line in chat.lines:
            written.append(self._message(conversation, line, written))
        if chat.failed:
            values = {"outcome": Turn.Outcome.FAILED, "reason": chat.failed, "completion_tokens": 0}
            self._turn(conversation, written[-1].said_at + timedelta(minutes=1), written, **values)

    def _message(self, conversation: Conversation, line: Line, earlier: list[Message]) -> Message:
        at = self.now - timedelta(minutes=line.ago)
        is_inbound = line.who == "contact"
        values: dict[str, Any] = {"author": line.who if line.who in {"contact", "agent"} else "staff"}
        if is_inbound:
            values |= {"direction": "inbound", "status": Status.HANDLED, "sender": conversation.contact}
        else:
            values |= {"direction": "outbound", "status": line.more.get("status", Status.READ), "sent_at": at,
                       "sent_by": self.people.get(line.who)}  # fmt: skip
        if "quotes" in line.more:
            quoted = earlier[line.more["quotes"]]
            values |= {"quoted": quoted, "quoted_provider_id": quoted.provider_message_id}
        if place := line.more.get("location"):
            values |= {"kind": Message.Kind.LOCATION, "details": {"location": place}}
        if media := line.more.get("media"):
            values["kind"] = media
        if line.who == "agent" and line.text:
            values["turn"] = self._turn(conversation, at, earlier)
            if line.more.get("turn") == "tools":
                _call_tool(values["turn"])
        message = Message.objects.create(
            session=self.session,
            conversation=conversation,
            text=line.text,
            said_at=at,
            written_at=at,
            created_at=at,
            provider_message_id=f"demo-{conversation.pk.hex[-12:]}-{len(earlier)}",
            error_code=line.more.get("error_code", ""),
            error=line.more.get("error", ""),
            **values,
        )
        if media:
            _attach(message, media, files=self.files)
        return message

    def _turn(self, conversation: Conversation, at: datetime, shown: list[Message], **values: Any) -> Turn:
        facts = Fact.objects.filter(contact=conversation.contact).values_list("pk", flat=True)
        usual = {
            "agent_profile": self.profile,
            "profile_version": self.profile.version,
            "model": "demo-model",
            "outcome": Turn.Outcome.ANSWERED,
            "steps": 1,
            "used": {"messages": [str(message.pk) for message in shown], "facts": [str(pk) for pk in facts]},
            "prompt_tokens": 812,
            "completion_tokens": 41,
            "model_ms": 1140,
            "started_at": at - timedelta(seconds=2),
            "created_at": at,
        }
        turn = Turn.objects.create(conversation=conversation, **usual | values)
        burst = Message.objects.filter(conversation=conversation, direction=Message.Direction.INBOUND, turn=None)
        burst.update(turn=turn)
        return turn


def _call_tool(turn: Turn) -> None:
    Turn.objects.filter(pk=turn.pk).update(steps=2)
    ToolCall.objects.create(
        turn=turn, name="handoff", status=ToolCall.Status.DONE, duration_ms=12,
        arguments={"reason": "complaint about a repair"}, result="A person has been asked to help.",
    )  # fmt: skip


def _attach(message: Message, kind: str, *, files: list[FieldFile]) -> None:
    name, mime_type, content = {
        "image": ("tern-24-green.png", "image/png", _picture),
        "voice": ("voice.wav", "audio/wav", _tone),
        "document": ("e-bikes-price-list.pdf", "application/pdf", lambda: _document("E-bikes: price list")),
    }[kind]
    data = content()
    media = Media(
        message=message, mime_type=mime_type, filename=name, size_bytes=len(data), downloadable=True,
        status=Media.Status.READY, created_at=message.created_at,
        transcript="Hello, can you put the green one aside for us until Saturday?" if kind == "voice" else "",
    )  # fmt: skip
    media.file.save(name, ContentFile(data), save=False)
    files.append(media.file)
    media.save()


def _picture() -> bytes:
    """Return a drawing of a bicycle."""
    image = Image.new("RGB", (640, 420), "#dfeee6")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 330, 640, 420), fill="#c7d2c4")
    for x in (170, 470):
        draw.ellipse((x - 92, 188, x + 92, 372), outline="#26332d", width=9)
        draw.ellipse((x - 8, 272, x + 8, 288), fill="#26332d")
    frame = "#1f8a5f"
    for line in (((170, 280), (250, 160)), ((250, 160), (420, 150)), ((170, 280), (300, 290)), ((250, 160), (300, 290)),
                 ((300, 290), (420, 150)), ((410, 110), (470, 280))):  # fmt: skip
        draw.line(line, fill=frame, width=12)
    draw.line(((225, 125), (258, 175)), fill="#26332d", width=9)
    draw.line(((195, 122), (262, 122)), fill="#26332d", width=14)
    draw.line(((372, 98), (440, 116)), fill="#26332d", width=9)
    draw.ellipse((278, 268, 322, 312), outline="#26332d", width=7)
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    return data.getvalue()


def _tone() -> bytes:
    """Return two silent seconds."""
    data = io.BytesIO()
    with wave.open(data, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(b"\x80" * 16_000)
    return data.getvalue()


def _document(title: str) -> bytes:
    """Return a PDF of one page."""
    data = io.BytesIO()
    page = Image.new("RGB", (595, 842), "white")
    ImageDraw.Draw(page).text((60, 60), title, fill="black")
    page.save(data, "PDF")
    return data.getvalue()

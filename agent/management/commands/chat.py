"""`manage.py chat`: talk to the agent in the terminal. Messages take the same path as those of a bridge."""

import json
import logging
import re
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from agent import engine, inbox
from agent.server import startup
from messaging.history.timeline import Activity, activity_of, describe_content, excerpt_of, read_timeline
from messaging.models import Conversation, Message, Turn
from messaging.outbound import conversation_by_phone
from sessions_app.models import Bridge, WhatsAppSession
from sessions_app.services import SESSION_NAME, start_session
from whatsapp_agent import postgres
from whatsapp_agent.errors import AppError, InvalidInput
from whatsapp_agent.terminal import seconds
from whatsapp_agent.text.phones import parse_phone

try:
    from readline import get_line_buffer as read_typed_text
except ImportError:  # Python may be built without it

    def read_typed_text() -> str:
        return ""


PROMPT = "you> "
CLEAR_LINE = "\r\x1b[K"
QUIT = {"/quit", "/exit"}
POLL_INTERVAL_S = 0.2
Status = Message.Status
SENT_STATUSES = {Status.SENT, Status.DELIVERED, Status.READ}
UNSENT_STATUSES = {Status.FAILED, Status.UNCONFIRMED, Status.CANCELLED}


class Command(BaseCommand):
    help = "Talk to the agent as a contact would, from the keyboard or a pipe (echo hello | manage.py chat)."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--name", default="Terminal", help="Your name.")
        parser.add_argument("--phone", default="+15550100001", help="Your phone number.")
        parser.add_argument("--session", default="terminal", help="The simulator session that you write to.")
        parser.add_argument(
            "--timeout",
            type=seconds,
            default=120.0,
            metavar="SECONDS",
            help="From a pipe: how long to wait for an answer.",
        )

    def handle(self, *, name: str, phone: str, session: str, timeout: float, **options: Any) -> None:  # noqa: ARG002
        logging.disable(logging.INFO)  # the engine runs in this process and would log between the lines
        try:
            chat = Chat(_conversation(session, phone, report=self.stderr.write), name=name, phone=phone)
            engine.start()
            try:
                if sys.stdin.isatty():
                    self._talk(chat)
                else:
                    self._read(chat, sys.stdin, timeout_s=timeout)
            finally:
                engine.stop(timeout_s=5)
        except (AppError, startup.CannotStart) as exc:
            raise CommandError(str(exc)) from exc
        except KeyboardInterrupt:
            sys.exit(130)
        finally:
            logging.disable(logging.NOTSET)

    # --- keyboard -------------------------------------------------------------------------------------------------
    def _talk(self, chat: "Chat") -> None:
        agent = chat.conversation.session.agent_profile
        self.stdout.write(f"You are {chat.name}, writing to {agent}. End with /quit, Ctrl-D or Ctrl-C.")
        is_over = threading.Event()
        watcher = threading.Thread(target=self._print_updates, args=(chat, is_over), daemon=True)
        watcher.start()
        with suppress(EOFError, KeyboardInterrupt):
            while (line := input(PROMPT).strip()) not in QUIT:
                if line:
                    chat.write(line)
        is_over.set()
        watcher.join(timeout=2)
        self.stdout.write("")

    def _print_updates(self, chat: "Chat", is_over: threading.Event) -> None:
        """Print updates above the line that is being typed."""
        while not is_over.wait(POLL_INTERVAL_S):
            try:
                lines = list(chat.read_updates())
            except Exception as exc:  # noqa: BLE001  # the next poll may succeed, and the prompt must stay usable
                lines = [f"  ({type(exc).__name__} while reading answers)"]
            finally:
                connections.close_all()
            if lines:
                text = "\n".join(lines)
                self.stdout.write(f"{CLEAR_LINE}{text}\n{PROMPT}{read_typed_text()}", ending="")
                self.stdout.flush()

    # --- pipe -----------------------------------------------------------------------------------------------------
    def _read(self, chat: "Chat", lines: Iterable[str], *, timeout_s: float) -> None:
        """Send each line as a message and wait for its answer. Raises CommandError if one is not answered."""
        if isinstance(lines, type(sys.__stdin__)):
            lines.reconfigure(errors="replace")
        for line in lines:
            if (text := line.strip()) in QUIT:
                return
            if not text:
                continue
            chat.write(text)
            deadline = time.monotonic() + timeout_s
            while not (is_settled := chat.is_settled()) and time.monotonic() < deadline:
                postgres.release()
                time.sleep(POLL_INTERVAL_S)
            for update in chat.read_updates():
                self.stdout.write(update)
            self.stdout.flush()
            if not is_settled:
                raise CommandError(f"No answer within {timeout_s:g} seconds.")
            if chat.has_failed:
                raise CommandError("The message was not answered.")


def _conversation(session_name: str, phone: str, *, report: startup.Report) -> Conversation:
    """Return the conversation of the phone; create it and its session if needed. Raises CannotStart or AppError."""
    number = parse_phone(phone)
    if not re.fullmatch(SESSION_NAME, session_name):
        raise InvalidInput(f"Invalid session name {session_name!r}. Use letters, digits and _ . -")
    if settings.EMBEDDED:
        startup.start_embedded_database(report=_nothing)
    startup.check_database()
    startup.prepare_database(report=report)
    bridge = Bridge.objects.get(slug=Bridge.SIMULATOR)
    known = WhatsAppSession.objects.live().filter(bridge=bridge, name=session_name).first()
    session = known or start_session(name=session_name, bridge=bridge)
    return conversation_by_phone(session=session, phone=number)


def _nothing(_line: str) -> None:
    """Print nothing: these steps are quick here."""


class Chat:
    """A contact's side of a conversation: sends events as a bridge would, and returns each update once."""

    def __init__(self, conversation: Conversation, *, name: str, phone: str) -> None:
        self.conversation = conversation
        self.name = name or phone
        self.has_failed = False  # the last message was not answered
        self._shown: set[tuple[Any, str]] = set()
        self._control = conversation.control
        self._last_id = ""
        list(self.read_updates())  # do not show older messages
        self._control = str(Conversation.Control.AGENT)  # an earlier takeover is shown

    def write(self, text: str) -> None:
        self.has_failed = False
        self._last_id = f"chat-{uuid4().hex}"
        address = self.conversation.address
        self._deliver({"event": "message", "id": self._last_id, "chat": address, "name": self.name, "text": text})

    def _deliver(self, *events: dict[str, Any]) -> None:
        session = self.conversation.session
        body = json.dumps([event | {"session": session.name} for event in events]).encode()
        inbox.process_webhook_request(bridge=session.bridge, headers={}, body=body)

    def is_settled(self) -> bool:
        """Return whether nothing is pending. Unanswered messages are pending only while the agent has control."""
        conversation = Conversation.objects.get(pk=self.conversation.pk)
        pending = [Status.QUEUED, Status.SENDING]
        if conversation.control == Conversation.Control.AGENT:
            if activity_of(conversation) != Activity.IDLE:
                return False
            pending.append(Status.RECEIVED)
        return not Message.objects.filter(conversation=conversation, status__in=pending).exists()

    def read_updates(self) -> Iterable[str]:
        """Return lines about what has happened since the last call. Marks new messages as delivered and read."""
        conversation = Conversation.objects.get(pk=self.conversation.pk)
        lines, receipts = [], []
        if conversation.control != self._control:
            self._control = conversation.control
            lines.append(f"  ({_describe_control(conversation)})")
        if self._control != Conversation.Control.AGENT and self._last_id and not self._was_answered():
            self.has_failed = True
        for entry in read_timeline(conversation, limit=30).entries:
            line = self._line(entry)
            if line is None or (entry.pk, line) in self._shown:
                continue
            self._shown.add((entry.pk, line))
            lines.append(line)
            if isinstance(entry, Message) and entry.status == Status.SENT and entry.provider_message_id:
                receipts += [
                    {"event": "status", "id": entry.provider_message_id, "status": status}
                    for status in ("delivered", "read")
                ]
        if receipts:
            self._deliver(*receipts)
        return lines

    def _was_answered(self) -> bool:
        """Return whether the last message was answered. A handoff is an answer."""
        last = Message.objects.filter(conversation=self.conversation, provider_message_id=self._last_id)
        return last.filter(turn__outcome__in=[Turn.Outcome.ANSWERED, Turn.Outcome.COMMAND]).exists()

    def _line(self, entry: Message | Turn) -> str | None:
        """Return the line to show for an entry in its current state; None if there is nothing to show."""
        if isinstance(entry, Turn):
            self.has_failed |= entry.outcome == Turn.Outcome.FAILED
            reason = f": {entry.reason}" if entry.reason else ""
            return f"  (turn {entry.get_outcome_display().lower()}{reason})"
        if entry.direction == Message.Direction.INBOUND:
            if not entry.unanswered:
                return None
            self.has_failed |= entry.provider_message_id == self._last_id
            return f"  (not answered: {entry.get_unanswered_display()})"
        text = "\n".join(filter(None, [describe_content(entry), excerpt_of(entry)]))
        if entry.status in SENT_STATUSES:
            return f"{entry.get_author_display().lower()}> {text}"
        if entry.status in UNSENT_STATUSES:
            self.has_failed |= entry.status == Status.FAILED
            return f"  ({entry.get_status_display()}{': ' + entry.error if entry.error else ''})"
        return None


def _describe_control(conversation: Conversation) -> str:
    if conversation.control == Conversation.Control.AGENT:
        return "the agent has control"
    who = "a person has taken over" if conversation.control == Conversation.Control.HUMAN else "muted: nobody answers"
    return f"{who}{': ' + conversation.control_reason if conversation.control_reason else ''}"

"""Speak an answer to a voice note, where the profile says so; in any doubt it is written."""

import re
from collections.abc import Sequence

import structlog
from django.conf import settings

from agent import llm
from agent.bridges.capabilities import Capability
from agent.bridges.events import Kind
from agent.llm.base import ModelError
from agent.llm.speech import Speaker
from messaging.history.transcript import HistoryMessage
from messaging.leases import Voice
from messaging.models import Conversation, Message
from sessions_app.bridges import adapter_for
from whatsapp_agent import postgres
from whatsapp_agent.text.markdown import to_whatsapp

log = structlog.get_logger(__name__)

MAX_SPOKEN_CHARS = 1500  # about two minutes; nobody listens longer
_MARKS = re.compile(r"[*_~`]+|^>\s?", re.MULTILINE)
_UNSPEAKABLE = re.compile(r"https?://|www\.|\w@\w|```|\|.*\|")  # to be tapped or copied


def speak_answer(conversation: Conversation, *, history: Sequence[HistoryMessage], text: str) -> Voice | None:
    """Return the answer as a voice note; None if it is to be written.

    Spoken is what answers a voice note, has no links or tables, and is not long. A model that fails changes nothing.
    """
    profile = conversation.session.agent_profile
    burst = [message for message in history if message.status == Message.Status.RECEIVED]
    if not profile.answers_with_voice or not burst or burst[-1].kind != Message.Kind.VOICE:
        return None
    spoken = _MARKS.sub("", to_whatsapp(text)).strip()
    if not spoken or len(spoken) > MAX_SPOKEN_CHARS or _UNSPEAKABLE.search(text):
        return None
    speaker = llm.speaker_for_settings()
    adapter = adapter_for(conversation.session.bridge)
    if speaker is None or Capability.SEND_VOICE not in adapter.capabilities:
        return None
    postgres.release()
    try:
        content = speaker.speak(spoken)
    except ModelError as exc:
        log.warning("answer_not_spoken", conversation=str(conversation.pk), code=exc.code)
        return None
    refusal = adapter.file_denial_reason(
        kind=Kind.VOICE, mime_type=Speaker.mime_type, size_bytes=len(content), has_url=bool(settings.PUBLIC_URL)
    )
    if refusal is not None:
        log.warning("answer_not_spoken", conversation=str(conversation.pk), code="not_supported")
        return None
    return Voice(content=content, text=spoken, mime_type=Speaker.mime_type, filename=Speaker.filename)

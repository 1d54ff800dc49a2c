"""A voice note is answered by a voice note, if the profile says so and the bridge can; in any doubt in writing."""

from collections.abc import Iterator

import pytest

from agent.bridges.events import Kind, MediaRef
from agent.sender import deliver
from agent.turns import turn as turns
from messaging import control
from messaging.models import Conversation, Media, Message
from sessions_app.models import AgentProfile, Bridge
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_waha import FakeWaha

ANSWER = "We open at *nine*."


@pytest.fixture
def waha() -> Iterator[FakeWaha]:
    with FakeWaha() as server:
        server.add_session("sales", phone="5511999990000")
        yield server


@pytest.fixture
def bridge(bridges, waha, settings, tmp_path) -> Bridge:
    settings.MEDIA_ROOT, settings.SEND_GAP_S = tmp_path, 0
    settings.OPENAI_SPEECH_MODEL = "tts-1"
    return connect_default_bridge("waha", waha)


@pytest.fixture
def heard(says, conversation, profile, model):
    """Let the contact send a voice note whose words are known, and take the turn."""
    AgentProfile.objects.update(answers_with_voice=True)

    def send(*, answer: str = ANSWER) -> None:
        model.say(answer)
        media = MediaRef(mime_type="audio/ogg", ref="http://localhost:3000/api/files/sales/1", downloadable=True)
        message = says("", kind=Kind.VOICE, media=media)
        Media.objects.filter(message=message.message_id).update(
            status="ready", transcript="When do you open?", next_try_at=None
        )
        turns.take_turn(conversation.pk)

    return send


def reply() -> Message:
    return Message.objects.get(direction="outbound")


def paths(model) -> list[str]:
    return [request.path for request in model.requests if request.path.endswith("/speech")]


def test_a_voice_note_is_answered_by_a_voice_note(heard, conversation, model, waha):
    heard()
    message = reply()
    assert (message.kind, message.text, message.media.transcript) == ("voice", "", "We open at nine.")
    with message.media.file.open("rb") as file:
        assert file.read() == b"OggSWe open at nine."
    deliver(conversation.pk)
    assert [request.path for request in waha.requests if "send" in request.path] == ["/api/sendVoice"]
    assert reply().status == "sent"


def test_the_server_is_asked_for_opus_in_the_configured_voice(heard, model, settings):
    settings.OPENAI_SPEECH_VOICE = "nova"
    heard()
    (asked,) = [request for request in model.requests if request.path.endswith("/audio/speech")]
    assert asked.body == {"model": "tts-1", "voice": "nova", "input": "We open at nine.", "response_format": "opus"}


def test_a_written_message_is_answered_in_writing(heard, says, conversation, model):
    says("When do you open?")
    turns.take_turn(conversation.pk)
    assert reply().kind == "text"
    assert paths(model) == []


WRITTEN = {
    "the profile does not say so": lambda _: AgentProfile.objects.update(answers_with_voice=False),
    "no model is set": lambda settings: setattr(settings, "OPENAI_SPEECH_MODEL", ""),
    "the bridge cannot send voice notes": lambda _: Bridge.objects.update(kind="zapw"),
}


@pytest.mark.parametrize("change", WRITTEN.values(), ids=WRITTEN)
def test_a_voice_note_is_answered_in_writing_where(heard, model, settings, change):
    change(settings)
    heard()
    assert reply().text == ANSWER
    assert paths(model) == []


@pytest.mark.parametrize("text", ["See https://example.com/prices", "```\ncode\n```", "Long. " * 400])
def test_what_cannot_be_spoken_is_written(heard, model, text):
    heard(answer=text)
    assert reply().kind == "text"


@pytest.mark.parametrize("outcome", ["error_500", "rate_limited", "not_json", "drop"])
def test_a_speech_model_that_fails_is_answered_in_writing_once(heard, model, outcome):
    model.fail(outcome, path="/audio/speech")
    heard()
    assert reply().text == ANSWER


def test_a_voice_note_that_the_bridge_refuses_leaves_as_text_once(
    heard, conversation, waha, django_capture_on_commit_callbacks
):
    heard()
    voice = reply().media.file
    waha.fail("invalid", call="send", times=1)
    with django_capture_on_commit_callbacks(execute=True):
        deliver(conversation.pk)
    assert not voice.storage.exists(voice.name)
    message = reply()
    assert (message.kind, message.text, message.status) == ("text", "We open at nine.", "sent")
    assert [request.path for request in waha.requests if "send" in request.path] == ["/api/sendVoice", "/api/sendText"]


def test_a_takeover_cancels_a_spoken_answer(heard, conversation):
    heard()
    control.take_over(conversation=Conversation.objects.get())
    assert reply().status == "cancelled"


def test_the_model_is_shown_the_words_of_its_spoken_answer(heard, says, conversation, model):
    heard()
    says("Thanks")
    turns.take_turn(conversation.pk)
    said = [message["content"] for message in model.requests[-1].body["messages"] if message["role"] == "assistant"]
    assert said == ["We open at nine."]

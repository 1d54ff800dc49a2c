"""Speech: a text spoken by a model, as WhatsApp's voice notes are."""

from agent.llm.base import ModelUnavailable
from agent.llm.model_server import ModelServer


class Speaker:
    """One speech model of one server. Thread-safe."""

    mime_type, filename = "audio/ogg", "voice.ogg"

    def __init__(self, server: ModelServer, *, model: str, voice: str) -> None:
        self._server = server
        self.model, self.voice = model, voice

    def speak(self, text: str) -> bytes:
        """Return the text as Ogg Opus. Raises ModelUnavailable or ModelRefused.

        Format: `POST /audio/speech`, https://platform.openai.com/docs/api-reference/audio/createSpeech
        """
        body = {"model": self.model, "voice": self.voice, "input": text, "response_format": "opus"}
        content = self._server.post_for_bytes("/audio/speech", body)
        if not content.startswith(b"OggS"):
            raise ModelUnavailable("The model server's answer is no Ogg file.", code="malformed")
        return content

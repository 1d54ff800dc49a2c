"""Transcribe audio files."""

from typing import IO

from agent.llm.base import ModelUnavailable
from agent.llm.model_server import ModelServer


class Transcriber:
    """One transcription model of one server. Thread-safe."""

    def __init__(self, server: ModelServer, *, model: str) -> None:
        self._server = server
        self.model = model

    def transcribe(self, content: IO[bytes], *, filename: str, mime_type: str) -> str:
        """Return the words, empty if there are none. Raises ModelUnavailable or ModelRefused.

        Format: `POST /audio/transcriptions`, https://platform.openai.com/docs/api-reference/audio/createTranscription
        """
        fields = {"model": self.model, "response_format": "json"}
        answer = self._server.post_file("/audio/transcriptions", fields, file=(filename, content, mime_type))
        text = answer.get("text")
        if not isinstance(text, str):
            raise ModelUnavailable("The model server's answer holds no transcript.", code="malformed")
        return text.strip()

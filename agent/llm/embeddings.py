"""Embeddings: vectors of texts. Texts of similar meaning have vectors of similar direction."""

import math
from collections.abc import Sequence

from agent.llm.base import ModelUnavailable
from agent.llm.model_server import ModelServer

MAX_DIMENSIONS = 16_000  # pgvector's own bound


class Embedder:
    """One embedding model of one server. Thread-safe."""

    def __init__(self, server: ModelServer, *, model: str) -> None:
        self._server = server
        self.model = model

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return the vector of each text, all of one dimension. Raises ModelUnavailable or ModelRefused.

        Format: `POST /embeddings`, https://platform.openai.com/docs/api-reference/embeddings
        """
        answer = self._server.post(
            "/embeddings", {"model": self.model, "input": list(texts), "encoding_format": "float"}
        )
        vectors = _vectors(answer.get("data"), count=len(texts))
        if vectors is None:
            raise ModelUnavailable("The model server's answer holds no vectors for these texts.", code="malformed")
        return vectors


def _vectors(data: object, *, count: int) -> list[list[float]] | None:
    """Return the vectors in the order of `index`; None unless there is exactly one usable vector for each text."""
    if not isinstance(data, list) or len(data) != count:
        return None
    vectors: dict[int, list[float]] = {}
    for number, each in enumerate(data):
        vector = each.get("embedding") if isinstance(each, dict) else None
        if not isinstance(vector, list) or not 0 < len(vector) <= MAX_DIMENSIONS:
            return None
        if not all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in vector):
            return None
        if not any(vector):
            return None  # without a direction
        index = each.get("index", number)
        if not isinstance(index, int):
            return None
        vectors[index] = [float(x) for x in vector]
    in_order = [vectors[index] for index in range(count) if index in vectors]
    return in_order if len(in_order) == count and len({len(vector) for vector in in_order}) == 1 else None

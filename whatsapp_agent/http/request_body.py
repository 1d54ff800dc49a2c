"""WSGI middleware for request bodies.

A chunked body gets a Content-Length: Django takes a body without one for empty. A body that no view has read is read to
its end, so that the connection can serve the next request.
"""

from collections.abc import Callable, Iterable
from tempfile import SpooledTemporaryFile
from typing import Any

from django.conf import settings

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
CHUNK_BYTES = 64 * 1024


def with_content_length(application: Application) -> Application:
    """Return the application with both applied. A body beyond the limits is not read to its end."""

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked" and not environ.get("CONTENT_LENGTH"):
            _set_content_length(environ)
        answer = application(environ, start_response)
        if environ.get("CONTENT_LENGTH", "0") not in {"", "0"}:
            _drain(environ)
        return answer

    return wrapped


def max_body_bytes() -> int:
    """Return how long a body may be: a file, with the form around it."""
    return settings.DATA_UPLOAD_MAX_MEMORY_SIZE + settings.MEDIA_MAX_BYTES


def _drain(environ: dict[str, Any]) -> None:
    """Read what is left; the server would close the connection, and a client's next request on it would fail."""
    left = max_body_bytes()
    while left > 0 and (chunk := environ["wsgi.input"].read(CHUNK_BYTES)):
        left -= len(chunk)


def _set_content_length(environ: dict[str, Any]) -> None:
    is_form = environ.get("CONTENT_TYPE", "").startswith("multipart/form-data")
    max_bytes = max_body_bytes() if is_form else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    body = SpooledTemporaryFile(max_size=settings.DATA_UPLOAD_MAX_MEMORY_SIZE)  # noqa: SIM115  # read by the view
    length = 0
    while length <= max_bytes and (chunk := environ["wsgi.input"].read(CHUNK_BYTES)):
        length += body.write(chunk)
    body.seek(0)
    environ["wsgi.input"] = body
    environ["CONTENT_LENGTH"] = str(length)

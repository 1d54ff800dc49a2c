"""Bodies as a server hands them on: those in chunks are measured, as Django takes what has no length for empty; what no
view has read is read to its end, so that the connection serves the next request.
"""

from collections.abc import Callable, Iterable
from tempfile import SpooledTemporaryFile
from typing import Any

from django.conf import settings

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
AT_ONCE = 64 * 1024


def measured(application: Application) -> Application:
    """The WSGI application, given every body with its length. One longer than any may be is not read to its end."""

    def measuring(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked" and not environ.get("CONTENT_LENGTH"):
            _measure(environ)
        answer = application(environ, start_response)
        if environ.get("CONTENT_LENGTH", "0") not in {"", "0"}:
            _read_the_rest(environ)
        return answer

    return measuring


def _read_the_rest(environ: dict[str, Any]) -> None:
    """The server would close the connection over it, and whoever is sending the next request by it would fail."""
    left = settings.DATA_UPLOAD_MAX_MEMORY_SIZE + settings.MEDIA_MAX_BYTES
    while left > 0 and (chunk := environ["wsgi.input"].read(AT_ONCE)):
        left -= len(chunk)


def _measure(environ: dict[str, Any]) -> None:
    is_form = environ.get("CONTENT_TYPE", "").startswith("multipart/form-data")
    most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE + (settings.MEDIA_MAX_BYTES if is_form else 0)
    body = SpooledTemporaryFile(max_size=settings.DATA_UPLOAD_MAX_MEMORY_SIZE)  # noqa: SIM115  # read by the view
    length = 0
    while length <= most and (chunk := environ["wsgi.input"].read(AT_ONCE)):
        length += body.write(chunk)
    body.seek(0)
    environ["wsgi.input"] = body
    environ["CONTENT_LENGTH"] = str(length)

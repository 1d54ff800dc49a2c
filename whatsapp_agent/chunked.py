"""Bodies that come in chunks, without a length: read and measured, for Django takes what has no length for empty."""

from collections.abc import Callable, Iterable
from tempfile import SpooledTemporaryFile
from typing import Any

from django.conf import settings

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
AT_ONCE = 64 * 1024


def measured(application: Application) -> Application:
    """The WSGI application, given every body with its length. One that is too long is not read to its end."""

    def measuring(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked" and not environ.get("CONTENT_LENGTH"):
            _measure(environ)
        return application(environ, start_response)

    return measuring


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

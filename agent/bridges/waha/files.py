"""Received files: WAHA has them for a while under an address of its own."""

import re
from urllib.parse import unquote, urlsplit

from agent.bridges.exchange import Refused, Request, Response, file_request
from agent.bridges.parsing import WrongShape
from agent.bridges.waha import answers

FILES = "/api/files/"


def request_for(url: str, max_bytes: int) -> Request:
    """Ask our bridge for the path of the URL, whatever host it names: no address that a payload gives is called."""
    unknown = Refused("WAHA gave the file's address in an unknown format.", code="not_found")
    try:
        parts = urlsplit(url)
    except ValueError as exc:
        raise unknown from exc
    path = "/" + parts.path.lstrip("/")
    if not path.startswith(FILES) or ".." in re.split(r"[/\\]", unquote(unquote(path))):
        raise unknown
    return file_request(f"{path}?{parts.query}" if parts.query else path, max_bytes=max_bytes)


def url_in(response: Response) -> str | None:
    """Return the address of the file of a message that was asked for. Raises BridgeError."""
    answers.check(response)
    try:
        media = response.object().maybe_object("media")
    except WrongShape as exc:
        raise answers.unknown_format() from exc
    return media.short("url", longest=2000) if media else None

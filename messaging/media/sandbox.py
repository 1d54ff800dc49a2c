"""Open hostile files in a process of their own, with limits of memory, time and output.

The process is `open_file.py`: it has none of our environment, code or connections, and ends with each file.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

PROGRAM = Path(__file__).with_name("open_file.py")
MAX_OUTPUT_BYTES = 8 * 1024 * 1024
TIMEOUT_S = 30.0
EXIT_UNREADABLE = 3  # the program says why

REASONS = {
    "password": "It is protected by a password.",
    "too_large": "It takes too much memory or time to open.",
    "damaged": "The file is damaged, or its content does not match its name.",
    "no_text": "It holds no text; perhaps it is a scan.",
}


class Unreadable(Exception):
    """The file cannot be opened. `code` is a key of REASONS; the message is for staff and the model."""

    def __init__(self, code: str) -> None:
        super().__init__(REASONS[code])
        self.code = code


def make_preview(content: IO[bytes]) -> bytes:
    """Return an image as a small JPEG without metadata. Raises Unreadable."""
    return _run("image", content)


def extract_text(content: IO[bytes], *, format: str, max_chars: int) -> str:
    """Return the beginning of a document's text; `format` is pdf, docx, xlsx or text. Raises Unreadable."""
    return _run(format, content, str(max_chars)).decode("utf-8", "replace")


def _run(task: str, content: IO[bytes], *arguments: str) -> bytes:
    with tempfile.TemporaryFile() as output:
        try:
            result = subprocess.run(  # noqa: S603  our own program; what strangers wrote is on its standard input
                [sys.executable, "-I", str(PROGRAM), task, *arguments],
                stdin=content,
                stdout=output,
                stderr=subprocess.PIPE,
                env={},
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise Unreadable("too_large") from exc
        if result.returncode == EXIT_UNREADABLE:
            reason = result.stderr.decode("ascii", "replace").strip()
            raise Unreadable(reason if reason in REASONS else "damaged")
        if result.returncode < 0:  # killed by a limit
            raise Unreadable("too_large")
        output.seek(0)
        written = output.read(MAX_OUTPUT_BYTES)
    if result.returncode or not written:
        raise Unreadable("damaged")
    return written

"""The image: built by buildah, in a storage of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.application import ROOT

BASE = "docker.io/library/python:3.11-slim"
TAG = "whatsapp-agent"
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
CERTIFICATES = "/etc/ssl/certs:/etc/ssl/certs:ro"  # of this machine, for pip in the build


class Buildah:
    """buildah with a storage of its own."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch.resolve()
        self._command = (
            "buildah", "--storage-driver", "vfs", "--root", str(scratch / "storage"), "--runroot", str(scratch / "run"),
        )  # fmt: skip

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self._command, *map(str, arguments)], **options)

    def run(self, *arguments: object, is_to_succeed: bool = True) -> str:
        """Return what it printed. What it prints as errors goes into the file `log`."""
        with (self.scratch / "log").open("ab") as log:
            done = subprocess.run(
                [*self._command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=log, check=False
            )
        if done.returncode and is_to_succeed:
            sys.exit(f"buildah {arguments[0]} failed ({done.returncode}):\n{self.log_end()}")
        return done.stdout.decode().strip() if not done.returncode else ""

    def log_end(self) -> str:
        return (self.scratch / "log").read_text(errors="replace")[-3000:]


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextmanager
def timed(what: str) -> Iterator[None]:
    started_at = time.monotonic()
    yield
    say(f"{time.monotonic() - started_at:7.1f} s  {what}")


def build_image(buildah: Buildah, *, base: Path | None) -> None:
    make_base(buildah, base)
    with timed("built: every line of the Dockerfile"):
        buildah.run("bud", "--format", "docker", "--isolation", "chroot", "--pull=never", "--volume", CERTIFICATES,
                    "--tag", TAG, "--file", ROOT / "Dockerfile", ROOT)  # fmt: skip


def make_base(buildah: Buildah, base: Path | None) -> None:
    if buildah.run("images", "--quiet", BASE, is_to_succeed=False):
        return
    if base is None and buildah.run("pull", "--quiet", BASE, is_to_succeed=False):
        return
    say(f"WARNING: {BASE} is not pulled: Debian's own Python 3.11 stands in for it.")
    if base is None:
        base = buildah.scratch / "base"
        with timed("base made by debootstrap"), (buildah.scratch / "log").open("ab") as log:
            subprocess.run(
                ["debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", "bookworm", str(base)],
                check=True, stdout=log, stderr=log,
            )  # fmt: skip
        for name in ("python", "python3"):
            (base / "usr/local/bin" / name).symlink_to("/usr/bin/python3")
    container = buildah.run("from", "scratch")
    buildah.run("copy", "--quiet", container, base, "/")
    buildah.run("commit", "--quiet", container, BASE)
    buildah.run("rm", container)

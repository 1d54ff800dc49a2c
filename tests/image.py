"""Build the image of the Dockerfile, and run it as compose.yaml's service `agent` does, without Docker.

    python -m tests.image [--base ROOT] [--keep DIR [--no-build]]

It needs buildah (`apt install buildah`) and root. Everything is in a scratch directory: the image, the volume, the
containers. The network is this machine's, so PORT is a free one; everything else that the service is given, its
environment, user, volume and lack of capabilities, is as compose.yaml and the Dockerfile have it. Where the base image
cannot be pulled, one is made by debootstrap from Debian's own Python 3.11, and said so; `--base` is one made before.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from tests.support.application import ROOT, free_port
from tests.support.fake_zapw import FakeZapw

BASE = "docker.io/library/python:3.11-slim"
TAG = "whatsapp-agent"
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
CERTIFICATES = "/etc/ssl/certs:/etc/ssl/certs:ro"  # of this machine, for pip in the build
HOST = "agent.example.com"
USER_ID = 10001  # of the Dockerfile
SECRET = "only-for-this-trial-0123456789"
START_LIMIT_S, ANSWER_LIMIT_S, STOP_LIMIT_S = 180, 60, 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="a root file system to use instead of the base image")
    parser.add_argument("--keep", type=Path, help="a directory for image and volume that is not deleted")
    parser.add_argument("--no-build", action="store_true", help="try the image in --keep")
    arguments = parser.parse_args()
    if shutil.which("buildah") is None or os.geteuid() != 0:
        sys.exit("SKIPPED: the image is not built, because buildah is not installed or this is not root.")
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        try_image(Buildah(arguments.keep), base=arguments.base, is_built=arguments.no_build)
        return
    with tempfile.TemporaryDirectory(prefix="image-") as scratch:
        try_image(Buildah(Path(scratch)), base=arguments.base, is_built=False)


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


def try_image(buildah: Buildah, *, base: Path | None, is_built: bool) -> None:
    if not is_built:
        make_base(buildah, base)
        with timed("built: every line of the Dockerfile"):
            buildah.run("bud", "--format", "docker", "--isolation", "chroot", "--pull=never", "--volume", CERTIFICATES,
                        "--tag", TAG, "--file", ROOT / "Dockerfile", ROOT)  # fmt: skip
    config = json.loads(buildah.run("inspect", "--type", "image", TAG))["Docker"]["config"]
    assert config["User"] == "agent", config["User"]
    volume = make_volume(buildah)
    with FakeZapw(api_key="key-of-the-bridge") as bridge:
        bridge.add_session("sales", phone="5511999990000")
        for number, text in enumerate(("the first message", "a message after the restart"), start=1):
            container = Container(buildah, config, volume=volume, bridge=bridge)
            try:
                with timed(f"start {number}: healthy by the image's own health check"):
                    container.start()
                with timed("a webhook of the bridge is answered, and the reply sent"):
                    container.converse(bridge, text, count=number)
                counts = json.loads(container.manage("stats", "--json"))["messages"]["inbound"]
                assert sum(counts.values()) == number, counts  # those of before the restart are there
                with timed("`docker compose exec agent python manage.py doctor` finds nothing wrong"):
                    say(container.manage("doctor").replace("\n", "\n            "))
                with timed("SIGTERM: ended in order, with 0"):
                    container.stop()
            finally:
                container.remove()
    assert volume.stat().st_uid == USER_ID
    say("The image holds what compose.yaml and docs/containers.md say.")


def make_volume(buildah: Buildah) -> Path:
    """Return a new volume: it has the owner and the mode of the directory in the image, as Docker makes it."""
    volume, container = buildah.scratch / "files", buildah.run("from", "--pull=never", TAG)
    found = buildah.run("run", "--isolation", "chroot", container, "--", "stat", "--format=%u %g %a", "/srv/agent/data")
    buildah.run("rm", container)
    user, group, mode = found.split()
    shutil.rmtree(volume, ignore_errors=True)
    volume.mkdir()
    os.chown(volume, int(user), int(group))
    volume.chmod(int(mode, 8))
    return volume


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


class Container:
    """The service `agent`: what compose.yaml gives it, over what the image has."""

    def __init__(self, buildah: Buildah, config: dict[str, Any], *, volume: Path, bridge: FakeZapw) -> None:
        self._buildah, self._config = buildah, config
        service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["agent"]
        (mount,) = service["volumes"]
        self.port = free_port()
        written_in_env_file = {
            "WHATSAPP_BRIDGE": "zapw", "WHATSAPP_API_URL": bridge.url, "WHATSAPP_API_KEY": bridge.api_key,
            "WHATSAPP_WEBHOOK_SECRET": SECRET, "ALLOWED_HOSTS": HOST, "HTTPS": "true", "AGENT_DEBOUNCE_S": "0.2",
        }  # fmt: skip
        environment = written_in_env_file | service["environment"] | {"PORT": self.port}
        self._options = [
            "--isolation", "chroot", "--user", config["User"], "--volume", f"{volume}:{mount.partition(':')[2]}",
            *(f"--cap-drop={name.lower()}" for name in service["cap_drop"]),
            *(f"--env={name}={value}" for name, value in environment.items()),
        ]  # fmt: skip
        self._command = [*config["Entrypoint"], *service.get("command", config["Cmd"])]
        self._name = buildah.run("from", "--pull=never", TAG)
        self._started: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = (self._buildah.scratch / "container.log").open("ab")
        with log:
            self._started = self._buildah.start(
                "run", *self._options, self._name, "--", *self._command,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        kind, *check = self._config["Healthcheck"]["Test"]
        command = ["sh", "-c", *check] if kind == "CMD-SHELL" else check
        give_up_at = time.monotonic() + START_LIMIT_S
        while self._exec(*command).returncode != 0:
            assert self._started.poll() is None, f"it ended:\n{self.log_end()}"
            assert time.monotonic() < give_up_at, f"it is not healthy:\n{self.log_end()}"
            time.sleep(0.5)

    def _exec(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        started = self._buildah.start(
            "run", *self._options, self._name, "--", *command,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        out, errors = started.communicate(timeout=120)
        return subprocess.CompletedProcess(command, started.returncode, out, errors)

    def manage(self, *arguments: str) -> str:
        done = self._exec("python", "manage.py", *arguments)
        assert done.returncode == 0, f"{shlex.join(arguments)}: {done.stdout!r} {done.stderr!r}"
        return done.stdout.decode().strip()

    def converse(self, bridge: FakeZapw, text: str, *, count: int) -> None:
        bridge.webhook_url = f"http://127.0.0.1:{self.port}/api/v1/webhooks/default/{SECRET}/"
        assert bridge.emit_message(text) == [200]
        sent = bridge.wait_for_sent(count, timeout_s=ANSWER_LIMIT_S)
        assert text in sent[-1]["text"], sent
        proxy = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers={"Host": HOST, "X-Forwarded-Proto": "https"},
            trust_env=False,
        )  # fmt: skip
        with proxy:
            sheet = re.search(r'href="(/static/[^"]+\.css)"', proxy.get("/admin/login/").text)
            assert sheet is not None
            assert proxy.get(sheet[1]).status_code == 200, sheet[1]

    def stop(self) -> None:
        assert self._started is not None
        inside = [
            each
            for each in psutil.Process(self._started.pid).children(recursive=True)
            if each.uids().real == USER_ID and not each.cmdline()[0].startswith("buildah")
        ]
        first = min(inside, key=psutil.Process.create_time)  # Docker's init passes the signal on to it
        first.send_signal(signal.SIGTERM)
        code = self._started.wait(STOP_LIMIT_S)
        assert code == 0, f"it ended with {code}:\n{self.log_end()}"

    def log_end(self) -> str:
        return (self._buildah.scratch / "container.log").read_text(errors="replace")[-3000:]

    def remove(self) -> None:
        for pid in psutil.pids():  # what is left after a failure: its root directory is in our storage
            with suppress(OSError):
                if Path(f"/proc/{pid}/root").readlink().is_relative_to(self._buildah.scratch):
                    os.kill(pid, signal.SIGKILL)
        if self._started is not None:
            self._started.wait(10)
        self._buildah.run("rm", self._name)


if __name__ == "__main__":
    main()

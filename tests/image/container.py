"""A service of compose.yaml that runs our image, as a container of buildah."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import psutil
import yaml

from tests.image.buildah import TAG, Buildah
from tests.support.application import ROOT, free_port
from tests.support.fake_zapw import FakeZapw

USER_ID = 10001  # of the Dockerfile
SECRET = "only-for-this-trial-0123456789"
SERVICES = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
READY = "ready."  # what a worker prints
START_LIMIT_S, ANSWER_LIMIT_S, STOP_LIMIT_S = 180, 60, 30


def image_config(buildah: Buildah) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(buildah.run("inspect", "--type", "image", TAG))["Docker"]["config"]
    return config


def interpolated(value: object, variables: Mapping[str, str]) -> str:
    """Return a value of compose.yaml with `${NAME:-default}` filled in."""
    return re.sub(r"\$\{([A-Z_]+):-([^}]*)\}", lambda found: variables.get(found[1], found[2]), str(value))


def make_volume(buildah: Buildah, name: str) -> Path:
    """Return a new volume: it has the owner and the mode of the directory in the image, as Docker makes it."""
    volume, container = buildah.scratch / name, buildah.run("from", "--pull=never", TAG)
    found = buildah.run("run", "--isolation", "chroot", container, "--", "stat", "--format=%u %g %a", "/srv/agent/data")
    buildah.run("rm", container)
    user, group, mode = found.split()
    shutil.rmtree(volume, ignore_errors=True)
    volume.mkdir()
    os.chown(volume, int(user), int(group))
    volume.chmod(int(mode, 8))
    return volume


class Container:
    """A service of compose.yaml: what is given to it there, over what the image has.

    `env_file` is what stands in `.env`, `hosts` the addresses of the services that it reaches by name.
    """

    HOST = "agent.example.com"

    def __init__(
        self,
        buildah: Buildah,
        service: str,
        *,
        volume: Path,
        env_file: Mapping[str, str],
        hosts: Mapping[str, str] = MappingProxyType({}),
        port: int = 0,
    ) -> None:
        self._buildah, self._config = buildah, image_config(buildah)
        given = SERVICES[service]
        self.port = port or free_port()
        self.has_health_check = not given.get("healthcheck", {}).get("disable")
        environment = (
            env_file
            | {name: interpolated(value, env_file) for name, value in given["environment"].items()}
            | {"PORT": str(self.port)}
        )
        (mount,) = given["volumes"]
        self._options = [
            "--isolation", "chroot", "--user", self._config["User"], "--volume", f"{volume}:{mount.partition(':')[2]}",
            *(f"--cap-drop={name.lower()}" for name in given["cap_drop"]),
            *(f"--env={name}={value}" for name, value in environment.items()),
        ]  # fmt: skip
        self._command = [*self._config["Entrypoint"], *given.get("command", self._config["Cmd"])]
        added = (f"--add-host={name}:{address}" for name, address in hosts.items())
        self._name = buildah.run("from", "--pull=never", *added, TAG)
        self._log = buildah.scratch / f"{self._name}.log"
        self._started: subprocess.Popen[bytes] | None = None

    @property
    def webhook_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1/webhooks/default/{SECRET}/"

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._started = self._buildah.start(
                "run", *self._options, self._name, "--", *self._command,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        kind, *check = self._config["Healthcheck"]["Test"]
        command = ["sh", "-c", *check] if kind == "CMD-SHELL" else check
        give_up_at = time.monotonic() + START_LIMIT_S
        while not (self._exec(*command).returncode == 0 if self.has_health_check else READY in self._log.read_text()):
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
        bridge.webhook_url = self.webhook_url
        assert bridge.emit_message(text) == [200]
        sent = bridge.wait_for_sent(count, timeout_s=ANSWER_LIMIT_S)
        assert text in sent[-1]["text"], sent
        proxy = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers={"Host": self.HOST, "X-Forwarded-Proto": "https"},
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
        return self._log.read_text(errors="replace")[-3000:]

    def remove(self) -> None:
        """Delete it, and kill what still runs in it after a failure."""
        if self._started is not None:
            if self._started.poll() is None:
                for process in psutil.Process(self._started.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
            self._started.wait(STOP_LIMIT_S)
        self._buildah.run("rm", self._name)

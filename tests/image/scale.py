"""The profile `scale`: web, two workers, PostgreSQL and Redis. Web and workers are restarted while people write.

The images of PostgreSQL and Redis are not pulled: the PostgreSQL that comes with the project (also 18 with pgvector)
and this machine's redis-server stand in for them, with the names, ports, environment, commands and health checks that
compose.yaml gives them, on a loopback address of their own.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from tests.image.buildah import Buildah, say, timed
from tests.image.container import SECRET, SERVICES, Container, interpolated, make_volume
from tests.support.bridges.writers import Writers
from tests.support.fake_openai import FakeOpenAI
from tests.support.fake_zapw import FakeZapw
from whatsapp_agent.postgres import embedded

ADDRESS = "127.0.71.1"  # loopback: the ports of compose.yaml are free there
DATABASE_USER_ID = 999  # of the image postgres
START_ORDER = ("database", "redis", "web", "worker")
HEALTHY_LIMIT_S = 120
DOCTOR_ASKS = ("say", {"word": "OK"})  # whether the model calls tools


def try_scale(buildah: Buildah) -> None:
    if shutil.which("redis-server") is None:
        say("SKIPPED: the profile `scale` is not tried, because redis-server is not installed.")
        return
    check_start_order()
    env_file = {
        "SECRET_KEY": "only-for-this-trial-a-long-key-0123456789-0123456789",
        "ADMIN_TOKEN_SECRET": "only-for-this-trial-another-key-0123456789-0123456789",
        "POSTGRES_PASSWORD": "onlyForThisTrial123",
        "WHATSAPP_BRIDGE": "zapw", "WHATSAPP_API_KEY": "key-of-the-bridge", "WHATSAPP_WEBHOOK_SECRET": SECRET,
        "OPENAI_API_KEY": "key-of-the-model", "ALLOWED_HOSTS": Container.HOST, "HTTPS": "true",
        "AGENT_DEBOUNCE_S": "0.2", "SEND_GAP_S": "0", "SEND_RATE_PER_MINUTE": "0",
    }  # fmt: skip
    with (
        FakeOpenAI(api_key=env_file["OPENAI_API_KEY"], latency_s=0.4, on_word={"tool": DOCTOR_ASKS}) as model,
        FakeZapw(api_key=env_file["WHATSAPP_API_KEY"]) as bridge,
        ExitStack() as running,
    ):
        bridge.add_session("sales", phone="5511999990000")
        bridge.webhook_waits_s = (0.5, 1.0, 2.0, 4.0, *(8.0,) * 12)
        env_file |= {"WHATSAPP_API_URL": bridge.url, "OPENAI_BASE_URL": model.base_url}
        with timed("PostgreSQL and Redis are healthy by the health checks of compose.yaml"):
            running.enter_context(database(buildah.scratch / "database", env_file))
            running.enter_context(redis(buildah.scratch / "redis"))
        try_services(running, buildah, env_file, bridge)
    say("The image holds what compose.yaml and docs/containers.md say of `scale`.")


def check_start_order() -> None:
    """Nothing is started before what it waits for."""
    for number, name in enumerate(START_ORDER):
        assert set(SERVICES[name].get("depends_on", {})) <= set(START_ORDER[:number]), name


def try_services(running: ExitStack, buildah: Buildah, env_file: Mapping[str, str], bridge: FakeZapw) -> None:
    volume = make_volume(buildah, "files")

    def started(service: str, *, port: int = 0) -> Container:
        container = Container(
            buildah, service, volume=volume, env_file=env_file, port=port, hosts=dict.fromkeys(SERVICES, ADDRESS)
        )
        running.callback(container.remove)
        container.start()
        return container

    with timed("web is healthy: the database is prepared"):
        web = started("web")
    with timed("two workers are ready (docker compose up --detach --scale worker=2)"):
        workers = [started("worker"), started("worker")]
    with timed("`docker compose exec web python manage.py doctor` finds nothing wrong"):
        say(web.manage("doctor").replace("\n", "\n            "))
    with timed("`docker compose exec web python manage.py backup` writes a backup"):
        say(f"            {web.manage('backup', '/srv/agent/data/before.backup')}")
    bridge.webhook_url, writers = web.webhook_url, Writers(bridge)
    with timed("a worker, web and the other worker are stopped by SIGTERM and started again, while people write"):
        writers.begin()
        bridge.wait_for_sent(8)
        for old, service, port in ((workers[0], "worker", 0), (web, "web", web.port), (workers[1], "worker", 0)):
            old.stop()
            count, new = len(bridge.sent), started(service, port=port)
            web = new if old is web else web
            bridge.wait_for_sent(count + 4)
        writers.end()
    writers.check(lambda statement: rows(env_file, statement))
    tries = [len(each) for each in writers.tries.values()]
    say(f"            {len(tries)} messages, each stored and answered once; {sum(tries) - len(tries)} second tries")
    with timed("a webhook of the bridge is answered, the reply sent, and a page of the admin has its styles"):
        web.converse(bridge, "the last message", count=len(bridge.sent) + 1)


def rows(env_file: Mapping[str, str], statement: str) -> list[tuple[Any, ...]]:
    url = interpolated(SERVICES["web"]["environment"]["DATABASE_URL"], env_file)
    connection = psycopg2.connect(url.replace("@database:", f"@{ADDRESS}:"))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())
    finally:
        connection.close()


@contextmanager
def database(place: Path, env_file: Mapping[str, str]) -> Iterator[None]:
    """Run PostgreSQL as the image pgvector/pgvector does, which makes user and database from its environment."""
    given = {name: interpolated(value, env_file) for name, value in SERVICES["database"]["environment"].items()}
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    password = place / "password"
    password.write_text(given["POSTGRES_PASSWORD"])
    for path in (place, password):
        os.chown(path, DATABASE_USER_ID, DATABASE_USER_ID)
    as_user: dict[str, Any] = {"user": DATABASE_USER_ID, "group": DATABASE_USER_ID, "extra_groups": [], "cwd": place}
    data = place / "data"
    with (place / "log").open("ab") as log:
        subprocess.run(
            [embedded.program("initdb"), "--pgdata", data, f"--username={given['POSTGRES_USER']}",
             f"--pwfile={password}", "--auth=scram-sha-256"],
            check=True, stdout=log, stderr=log, **as_user,
        )  # fmt: skip
        with (data / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {ADDRESS}/32 scram-sha-256\n")
        server = subprocess.Popen(
            [embedded.program("postgres"), "-D", data, "-c", f"listen_addresses={ADDRESS}",
             "-c", f"unix_socket_directories={place}"],
            stdout=log, stderr=log, **as_user,
        )  # fmt: skip
    try:
        _, check = SERVICES["database"]["healthcheck"]["test"]
        programs = embedded.program("pg_isready").parent
        until_healthy("database", ["sh", "-c", f"{programs}/{check.replace('127.0.0.1', ADDRESS)}"], server)
        environment = os.environ | {"PGPASSWORD": given["POSTGRES_PASSWORD"]}
        subprocess.run(
            [embedded.program("createdb"), "-h", ADDRESS, "-U", given["POSTGRES_USER"], given["POSTGRES_DB"]],
            env=environment, check=True,
        )  # fmt: skip
        yield
    finally:
        server.send_signal(signal.SIGINT)  # as the image's STOPSIGNAL: connections are closed
        server.wait(60)


@contextmanager
def redis(place: Path) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    with (place / "log").open("ab") as log:
        server = subprocess.Popen([*SERVICES["redis"]["command"], "--bind", ADDRESS], cwd=place, stdout=log, stderr=log)
    try:
        _, *check = SERVICES["redis"]["healthcheck"]["test"]
        until_healthy("redis", [check[0], "-h", ADDRESS, *check[1:]], server)
        yield
    finally:
        server.terminate()
        server.wait(30)


def until_healthy(name: str, check: list[str], server: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + HEALTHY_LIMIT_S
    while subprocess.run(check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
        assert server.poll() is None, f"{name} ended with {server.returncode}"
        assert time.monotonic() < give_up_at, f"{name} is not healthy"
        time.sleep(0.2)

"""`make fuzz`: schemathesis asks a running server everything its schema allows, and what it does not, as three users.

An administrator, an operator who is a member of a session with a past, and an operator who is a member of nothing. All
checks are on: no failure of ours, and every answer as the schema says.

The number of cases is bounded, not the time: the seed, the hashes and each user's own application with its data are the
same each time, however fast the machine is, so that what passes today passes tomorrow. A longer search, with an engine
that answers and sends meanwhile, is made by hand:
`make fuzz ARGS="--seconds 300 --seed 7"`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx

from tests.support.application import ROOT, SECRETS, Application, open_to_all, prepare_data

SEED = 20260823
PASSWORD = SECRETS["ADMIN_PASSWORD"]
# How many cases of each operation are made up, and in which ways. Who may do everything also meets every limit that the
# schema names (`coverage`), some 7,000 cases: a stranger would meet the same 404.
USERS = {
    "admin": ("--max-examples", "4", "--phases", "examples,coverage,fuzzing,stateful"),
    "operator": ("--max-examples", "8", "--phases", "examples,fuzzing,stateful"),
    "stranger": ("--max-examples", "8", "--phases", "examples,fuzzing,stateful"),
}
LIMIT_S = 720  # for one user, on a machine that is several times slower; nothing is cut short silently
AT_ONCE = 2
# The same cases are made up everywhere: sets keep their order, and Hypothesis its settings. What is answered feeds
# later cases, so nothing may change by itself: turns and sends are left to workers, and there is none. Of two runs 93%
# of the requests are equal, with an engine 64%; the rest differs by what times and ids of the day lead to.
REPEATABLE = {"PYTHONHASHSEED": "0", "CI": "true"}
NO_ENGINE = {"REDIS_URL": "redis://127.0.0.1:9/0"}
# Run inside the application: the users, and something for them to find, made up by the database's random numbers.
WORLD = f"""
from django.contrib.auth.models import Group
from django.db import connection
from accounts.models import User
from messaging.management.seeding import seed
from sessions_app.models import Membership, WhatsAppSession
connection.cursor().execute("SELECT setseed(0.5)")
list(seed(messages=300, conversations=20, sessions=2))
for name in ("operator", "stranger"):
    user = User.objects.create_user(name, password="{PASSWORD}")
    user.groups.add(Group.objects.get(name="operator"))
Membership.objects.create(session=WhatsAppSession.objects.first(), user=User.objects.get(username="operator"))
"""


def ask_everything(
    who: str, *, scratch: Path, arguments: list[str], limit_s: int, environment: dict[str, str]
) -> tuple[bool, str]:
    """As one user, in an application of their own; returns whether every answer was as it should be, and the report."""
    with Application(
        scratch / who,
        prepared=scratch / "prepared",
        WEB_PROCESSES=1,
        API_RATE_PER_MINUTE=0,
        ANONYMOUS_RATE_PER_MINUTE=0,
        **environment,
    ) as application:
        application.manage("shell", "-v", "0", "-c", WORLD)
        login = {"username": who, "password": PASSWORD}
        answer = httpx.post(f"{application.url}/api/v1/auth/token/", json=login, timeout=30, trust_env=False)
        access = answer.raise_for_status().json()["access"]
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            *("--config-file", "tests/schemathesis.toml", "run", f"{application.url}/api/schema/"),
            *("--header", f"Authorization: Bearer {access}", *arguments),
        ]
        with (scratch / f"{who}.txt").open("w+") as report:
            ended = None
            with suppress(subprocess.TimeoutExpired):
                ended = subprocess.run(
                    command,
                    cwd=ROOT,
                    env=os.environ | REPEATABLE,
                    check=False,
                    stdout=report,
                    stderr=subprocess.STDOUT,
                    timeout=limit_s,
                )
            report.seek(0)
            lines = [f"--- as {who}", report.read()]
        if ended is None:
            lines.append(f"FAILED: not every case was tried within {limit_s} s.")
        is_well = ended is not None and ended.returncode == 0
        if not is_well:
            lines += ["What the log says of our own mistakes:", *unhandled_errors(application)]
    return is_well, "\n".join(lines)


def unhandled_errors(application: Application) -> Iterator[str]:
    return (line for line in application.log.read_text().splitlines() if "unhandled_error" in line)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--seconds", type=int, help="search this long as each user instead, in all ways; not repeatable"
    )
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--who", choices=USERS, action="append")
    options, more = parser.parse_known_args()

    with tempfile.TemporaryDirectory(prefix="fuzz ") as folder, ThreadPoolExecutor(AT_ONCE) as users:
        scratch = open_to_all(Path(folder))
        prepare_data(scratch / "prepared")

        def ask(who: str) -> bool:
            amount = ("--max-examples", "15", "--max-time", str(options.seconds)) if options.seconds else USERS[who]
            is_well, report = ask_everything(
                who,
                scratch=scratch,
                arguments=["--seed", str(options.seed), *amount, *more],
                limit_s=(options.seconds or 0) + LIMIT_S,
                environment=REPEATABLE if options.seconds else REPEATABLE | NO_ENGINE,
            )
            print(report, flush=True)
            return is_well

        return 0 if all(list(users.map(ask, options.who or USERS))) else 1


if __name__ == "__main__":
    sys.exit(main())

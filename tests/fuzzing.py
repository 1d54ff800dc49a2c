"""`make fuzz`: schemathesis asks a running server everything its schema allows, and what it does not, as three users.

An administrator, an operator who is a member of a session with a past, and an operator who is a member of nothing. All
checks are on: no failure of ours, and every answer as the schema says. Bounded in time; the seed is fixed, so that a
failure comes again.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

from tests.support.application import ROOT, SECRETS, Application

SEED = 20260823
PASSWORD = SECRETS["ADMIN_PASSWORD"]
WHO = ("admin", "operator", "stranger")
# Run inside the application: the users, and something for them to find.
WORLD = f"""
from django.contrib.auth.models import Group
from accounts.models import User
from messaging.management.seeding import seed
from sessions_app.models import Membership, WhatsAppSession
list(seed(messages=300, conversations=20, sessions=2))
for name in ("operator", "stranger"):
    user = User.objects.create_user(name, password="{PASSWORD}")
    user.groups.add(Group.objects.get(name="operator"))
Membership.objects.create(session=WhatsAppSession.objects.first(), user=User.objects.get(username="operator"))
"""


def ask_everything(application: Application, *, who: str, seconds: int, examples: int, more: list[str]) -> bool:
    """As one user; returns whether every answer was as it should be."""
    login = {"username": who, "password": PASSWORD}
    answer = httpx.post(f"{application.url}/api/v1/auth/token/", json=login, timeout=30, trust_env=False)
    access = answer.raise_for_status().json()["access"]
    print(f"--- as {who}", flush=True)
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        *("--config-file", "tests/schemathesis.toml", "run", f"{application.url}/api/schema/"),
        *("--header", f"Authorization: Bearer {access}"),
        *("--seed", str(SEED), "--max-examples", str(examples), "--max-time", str(seconds)),
        *more,
    ]
    return subprocess.run(command, cwd=ROOT, check=False, timeout=seconds + 300).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each user")
    parser.add_argument("--examples", type=int, default=15, help="for each operation")
    parser.add_argument("--who", choices=WHO, action="append")
    options, more = parser.parse_known_args()
    with (
        tempfile.TemporaryDirectory(prefix="fuzz ") as scratch,
        Application(Path(scratch), WEB_PROCESSES=1, API_RATE_PER_MINUTE=0, ANONYMOUS_RATE_PER_MINUTE=0) as application,
    ):
        application.manage("shell", "-v", "0", "-c", WORLD)
        well = [
            ask_everything(application, who=who, seconds=options.seconds, examples=options.examples, more=more)
            for who in options.who or WHO
        ]
        if not all(well):
            print("What the log says of our own mistakes:")
            print("\n".join(line for line in application.log.read_text().splitlines() if "unhandled_error" in line))
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())

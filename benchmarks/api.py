"""`python -m benchmarks.api`: time of the API's lists, compared with the same queries in plain SQL.

A million messages in 20,000 conversations, made by `manage.py seed_demo`; the application as it runs, requested over
HTTP on one connection that stays open. The SQL is what one would write by hand for the same answer, fetched
over the same socket the application uses. Both are measured in turns, so that other load on the machine affects both.
"""

import argparse
import base64
import json
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psycopg2

from tests.support.application import SECRETS, Application
from whatsapp_agent.postgres import embedded

PAGE = 50
SOCKET_BYTES = 1 << 20
MAX_SQL_RATIO = 3.0

MESSAGES = """
SELECT message.id, message.session_id, message.conversation_id, direction, author, sender.id, sender.name, sender.phone,
       sender.is_group, writer.id, writer.username, kind, status, unanswered, text, details, media.id, media.mime_type,
       media.filename, media.size_bytes, media.downloadable, quoted_id, turn_id, provider_message_id, error_code, error,
       said_at, message.created_at, sent_at, delivered_at, read_at, edited_at, revoked_at
  FROM messaging_message message
  LEFT JOIN messaging_contact sender ON sender.id = message.sender_id
  LEFT JOIN accounts_user writer ON writer.id = message.sent_by_id
  LEFT JOIN messaging_media media ON media.message_id = message.id
 WHERE {where} ORDER BY said_at DESC, message.id DESC LIMIT 51
"""
# Of a rare word the few are found first; a plain query walks through all messages for it, as the planner guesses wrong.
RARE = """
WITH found AS MATERIALIZED (SELECT message_id FROM messaging_searchentry WHERE terms @@ %(words)s::tsquery)
"""
CONVERSATIONS = """
SELECT conversation.id, session.id, session.name, session.phone, session.status, contact.id, contact.name,
       contact.phone, contact.is_group, control, control_until, control_reason, holder.id, holder.username,
       unread_count, needs_attention, attention_reason, attention_note, summary, last_message_at,
       conversation.created_at, last.*
  FROM messaging_conversation conversation
  JOIN sessions_app_whatsappsession session ON session.id = conversation.session_id
  JOIN messaging_contact contact ON contact.id = conversation.contact_id
  LEFT JOIN accounts_user holder ON holder.id = conversation.controlled_by_id
  LEFT JOIN LATERAL (SELECT id, direction, author, kind, status, left(text, 200), said_at FROM messaging_message
                      WHERE conversation_id = conversation.id ORDER BY said_at DESC, id DESC LIMIT 1) last ON true
 WHERE {where} ORDER BY COALESCE(last_message_at, conversation.created_at) DESC, conversation.id DESC LIMIT 51
"""


@dataclass
class Case:
    """One list: the API's route, and the same query in SQL."""

    name: str
    path: str
    sql: str
    parameters: dict[str, Any] = field(default_factory=dict)
    is_page: bool = True  # a page of 50, held to a multiple of its SQL


def cases(rows: Callable[..., list[Any]], *, messages: int) -> list[Case]:
    (deep_at, deep_id) = rows(
        "SELECT said_at, id FROM messaging_message ORDER BY said_at DESC, id DESC OFFSET %s LIMIT 1", messages * 4 // 5
    )[0]
    cursor = base64.urlsafe_b64encode(f"n|{deep_at.isoformat()}|{deep_id}".encode()).decode().rstrip("=")
    (session, conversation) = rows("SELECT session_id, id FROM messaging_conversation ORDER BY id LIMIT 1")[0]
    rare = str(messages // 2 + 7)
    (common, rare_words) = ("'parcel'", f"'{rare}'")
    searched = "message.id IN (SELECT message_id FROM messaging_searchentry WHERE terms @@ %(words)s::tsquery)"
    return [
        Case("messages, first page", "messages/", MESSAGES.format(where="true")),
        Case(
            "messages, deep page",
            f"messages/?cursor={cursor}",
            MESSAGES.format(where="(said_at, message.id) < (%(at)s, %(id)s)"),
            {"at": deep_at, "id": deep_id},
        ),
        Case(
            "messages of a session, inbound",
            f"messages/?session={session}&direction=inbound",
            MESSAGES.format(where="message.session_id = %(session)s AND direction = 'inbound'"),
            {"session": session},
        ),
        Case("messages that failed", "messages/?status=failed", MESSAGES.format(where="status = 'failed'")),
        Case(
            "messages of a conversation",
            f"conversations/{conversation}/messages/",
            MESSAGES.format(where="message.conversation_id = %(conversation)s"),
            {"conversation": conversation},
        ),
        Case("search, a common word", "messages/?search=parcel", MESSAGES.format(where=searched), {"words": common}),
        Case(
            "search, a rare word",
            f"messages/?search={rare}",
            RARE + MESSAGES.format(where="message.id IN (SELECT message_id FROM found)"),
            {"words": rare_words},
            is_page=False,
        ),
        Case("conversations, first page", "conversations/", CONVERSATIONS.format(where="true")),
        Case(
            "conversations unread",
            "conversations/?unread=true",
            CONVERSATIONS.format(where="unread_count > 0"),
        ),
    ]


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = act()
    return (time.perf_counter() - began) * 1000, result


class Client:
    """Asks over one connection that stays open, and does little itself: what is measured is not its time."""

    def __init__(self, port: int, *, access: str) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._headers = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {access}\r\n\r\n"

    def get(self, path: str) -> bytes:
        self._connection.sendall(f"GET /api/v1/{path} HTTP/1.1\r\n{self._headers}".encode())
        received = self._connection.recv(SOCKET_BYTES)
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._connection.recv(SOCKET_BYTES)
        assert received.startswith(b"HTTP/1.1 200 "), received[:600]
        length = end + 4 + int(received[:end].lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(received) < length:
            received += self._connection.recv(SOCKET_BYTES)
        return received[end + 4 :]


def measure(case: Case, *, client: Client, cursor: Any, times: int) -> bool:
    """Print one line; returns whether the page stays within its bound."""

    def ask_api() -> bytes:
        return client.get(case.path)

    def ask_database() -> int:
        cursor.execute(case.sql, case.parameters)
        return len(cursor.fetchall())

    api_ms, sql_ms = [], []
    for number in range(times + 3):
        (api, page), (sql, rows) = timed(ask_api), timed(ask_database)
        found = len(json.loads(page)["results"])
        assert found == min(rows, PAGE), f"{case.name}: {found} of the API, {rows} of the database"
        if number >= 3:  # the first ones find nothing in any cache
            api_ms.append(api)
            sql_ms.append(sql)
    ratio = median(api_ms) / median(sql_ms)
    is_met = not case.is_page or ratio <= MAX_SQL_RATIO
    verdict = (("met" if is_met else "MISSED") + f" (<= {MAX_SQL_RATIO:g}x)") if case.is_page else ""
    print(
        f"  {case.name:<32}{median(api_ms):8.1f}{_p95(api_ms):8.1f}{median(sql_ms):10.1f}{_p95(sql_ms):8.1f}"
        f"{ratio:8.1f}x  {verdict}",
        flush=True,
    )
    return is_met


def _p95(values: list[float]) -> float:
    return sorted(values)[len(values) * 95 // 100]


def run(application: Application, *, messages: int, conversations: int, times: int) -> bool:
    application.manage("seed_demo", "--messages", str(messages), "--conversations", str(conversations))
    server = embedded.ensure_running(application.data_dir / "postgres")
    database = psycopg2.connect(**server.address, user=embedded.SUPERUSER, dbname=embedded.DATABASE)
    database.autocommit = True
    login = {"username": "admin", "password": SECRETS["ADMIN_PASSWORD"]}
    answer = httpx.post(f"{application.url}/api/v1/auth/token/", json=login, timeout=60, trust_env=False)
    client = Client(application.port, access=answer.raise_for_status().json()["access"])
    with database.cursor() as cursor:
        base_ms = [timed(lambda: client.get("auth/me/"))[0] for _ in range(times)]
        print(f"  a call that lists nothing (auth/me/): {median(base_ms):.1f} ms, p95 {_p95(base_ms):.1f} ms")
        print(f"  {'':<32}{'API ms':>8}{'p95':>8}{'SQL ms':>10}{'p95':>8}")
        well = [
            measure(case, client=client, cursor=cursor, times=times)
            for case in cases(application.rows, messages=messages)
        ]
        return all(well)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--conversations", type=int, default=20_000)
    parser.add_argument("--times", type=int, default=50, help="how often each list is asked for")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench api ") as scratch,
        Application(Path(scratch), WEB_PROCESSES=1, API_RATE_PER_MINUTE=0) as application,
    ):
        is_met = run(application, messages=options.messages, conversations=options.conversations, times=options.times)
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())

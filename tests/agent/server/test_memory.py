"""What a process keeps of memory that its threads have freed."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.application import ROOT, SECRETS

# Threads allocate beside each other; `malloc_info` lists one <heap> for each arena.
PROGRAM = """
import ctypes, sys, threading
from agent.server import memory
if sys.argv[1] == "one":
    assert memory.use_one_arena()
libc = ctypes.CDLL(None)
together = threading.Barrier(8)
def allocate():
    together.wait()
    libc.malloc(ctypes.c_size_t(100_000))
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="the C library is not glibc")


def count_arenas(which: str) -> int:
    program = [sys.executable, "-c", PROGRAM, which]
    return subprocess.run(program, capture_output=True, check=True, timeout=60).stdout.count(b"<heap ")


def test_threads_of_a_server_share_one_arena():
    assert count_arenas("one") == 1


def test_threads_have_arenas_of_their_own_otherwise():
    assert count_arenas("many") > 1


LOADED = """
import sys
import django
django.setup()
from agent.server.gunicorn import WebServer
WebServer(address="127.0.0.1:0", in_first_worker=print, on_exit=print).load()
print("openai" in sys.modules)
"""


@pytest.mark.parametrize(("base_url", "is_loaded"), [("", "False"), ("http://127.0.0.1:9/v1", "True")])
def test_the_client_of_model_servers_is_loaded_before_the_fork_if_there_is_one(
    base_url: str, is_loaded: str, tmp_path: Path
) -> None:
    """It takes 26 MB."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    place = SECRETS | {"DATA_DIR": str(tmp_path), "DATABASE_URL": "postgres://agent@db.invalid/agent"}
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=False,
        env=own | place | {"DJANGO_SETTINGS_MODULE": "whatsapp_agent.settings", "OPENAI_BASE_URL": base_url},
    )  # fmt: skip
    assert (loaded.returncode, loaded.stdout.split()[-1:]) == (0, [is_loaded]), loaded.stderr

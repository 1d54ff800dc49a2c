"""What a process keeps of memory that its threads have freed."""

import ctypes
import subprocess
import sys

import pytest

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

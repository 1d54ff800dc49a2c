"""The C library's allocator, as a server with many threads needs it."""

import ctypes

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_ARENA_MAX = -8
TRIM_THRESHOLD_BYTES = 128 * 1024


def use_one_arena() -> bool:
    """Let all threads of this process and its children share one arena; return False where there is no glibc.

    Otherwise each thread gets an arena and keeps what was freed in it, although Python's threads allocate one at a
    time. Free memory at the end of the arena goes back to the system.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_ARENA_MAX, 1) and mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES))

"""The database's clock beside this machine's: what is due is compared with the one, what is old with the other."""

import time

from django.db import connection

MAX_OFFSET_S = 30.0


def offset_s() -> float:
    """Return by how many seconds the database's clock is ahead of this machine's; negative if it is behind."""
    before = time.time()
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXTRACT(EPOCH FROM clock_timestamp())::float8")
        (database,) = cursor.fetchone()
    return float(database) - (before + time.time()) / 2


def describe(offset: float) -> str:
    return f"the database's clock is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} this machine's"

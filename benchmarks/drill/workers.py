"""The storm with Celery: two web processes, two workers and a Redis that is killed, emptied, paused and restarted."""

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.drill.promises import promises
from benchmarks.drill.storm import Writer, cause_failures, kill_the_database
from benchmarks.drill.world import UNDER_WAY, Check, Drill
from tests.support.application import Worker
from tests.support.redis_server import RedisServer

WOKEN_WITHIN_S = 60.0


class CeleryDrill(Drill):
    """A drill whose turns are taken by two Celery workers."""

    def __init__(self, data_dir: Path, **more: Any) -> None:
        self.redis = RedisServer(data_dir.parent / f"{data_dir.name} redis")
        super().__init__(data_dir, REDIS_URL=self.redis.url, WEB_PROCESSES=2, **more)
        self.done: Counter[str] = Counter()

    def __enter__(self) -> "CeleryDrill":
        self.redis.start()
        super().__enter__()
        self.workers = [Worker(self.application, name) for name in ("first", "second")]
        for worker in self.workers:
            worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.stop()
        super().__exit__()
        self.redis.kill()

    # --- what is done to it ---------------------------------------------------------------------------------------

    def restart_redis(self) -> None:
        self.redis.kill()
        time.sleep(random.uniform(0.1, 3))
        self.redis.start()

    def flush_redis(self) -> None:
        self.redis.client.flushall()

    def pause_redis(self) -> None:
        self.redis.pause()
        time.sleep(random.uniform(2, 5))
        self.redis.resume()

    def kill_a_celery_worker(self) -> None:
        worker = random.choice(self.workers)
        worker.kill()
        worker.start(is_to_be_ready=False)

    def stop_a_celery_worker(self) -> None:
        worker = random.choice(self.workers)
        worker.stop()
        worker.start(is_to_be_ready=False)

    def kill_a_web_process(self) -> None:
        self.application.kill_a_worker()

    def kill_everything(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.redis.kill()
        self.kill()
        self.application.start()
        for worker in self.workers:  # without Redis: they answer all the same
            worker.start(is_to_be_ready=False)
        time.sleep(2)
        self.redis.start()

    def restart_the_database(self) -> None:
        kill_the_database(self)

    def acts(self) -> list[Callable[[], None]]:
        return [
            self.restart_redis,
            self.flush_redis,
            self.pause_redis,
            self.kill_a_celery_worker,
            self.stop_a_celery_worker,
            self.kill_a_web_process,
            self.kill_everything,
            self.restart_the_database,
        ]

    # --- what must be true of the workers ---------------------------------------------------------------------------

    def silent_workers(self) -> list[str]:
        """Write until both workers were woken through Redis; return those that never were."""
        since = self.rows("SELECT now()")[0][0]
        pids = {worker.process.pid: worker.log.stem for worker in self.workers}
        give_up_at = time.monotonic() + WOKEN_WITHIN_S
        silent = set(pids)
        while silent and time.monotonic() < give_up_at:
            for number in range(6):
                self.write(f"55119990000{number:02}").result(30)
            time.sleep(1)
            woken = self.rows("SELECT pid FROM agent_engineprocess WHERE woken_at > %s AND seen_at > %s", since, since)
            silent -= {pid for (pid,) in woken}
        return sorted(pids[pid] for pid in silent)


def celery_storm(drill: CeleryDrill, *, rounds: int, every_s: float, per_s: float, conversations: int) -> list[Check]:
    """Do each thing once in every round, in an order of chance, while many write; then compare."""
    cause_failures(drill)
    with Writer(drill, per_s=per_s, conversations=conversations) as writer:
        for _ in range(rounds):
            for act in random.sample(drill.acts(), len(drill.acts())):
                time.sleep(random.uniform(0.5, 1.5) * every_s)
                act()
                drill.done[act.__name__] += 1
        time.sleep(3)
    silent = drill.silent_workers()
    quiet = drill.wait_until_quiet(*UNDER_WAY, timeout_s=90)
    print(f"  {len(writer.written)} messages written; {', '.join(f'{what} {n}' for what, n in drill.done.items())}")
    return [
        Check("all comes to rest", quiet),
        Check("no worker stays silent", not silent, ", ".join(silent)),
        *promises(drill),
    ]

"""The periodic jobs that also run in web processes: what must be stored or noticed even where no engine runs."""

import threading

from agent import engine
from whatsapp_agent import periodic

_stopping: threading.Event | None = None


def start() -> None:
    """Start the jobs of this web process, in threads of their own."""
    global _stopping
    periodic.import_jobs(engine.APPS_WITH_JOBS)
    _stopping = threading.Event()
    jobs = [job for job in periodic.registry if job.in_web_processes]
    for thread in engine.threads_of_jobs(jobs, stopping=_stopping):
        thread.start()


def stop() -> None:
    """Begin no further job. One under way is not waited for: the process ends."""
    if _stopping is not None:
        _stopping.set()

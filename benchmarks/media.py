"""`python -m benchmarks.media`: memory and time of fetching and downscaling received images, 100 of 2 MB each.

A WAHA on a real socket holds the images; threads of this process fetch and read them, as many as the engine has. Memory
is that of this process, the fake WAHA included, and the largest of a process that opens an image.
"""

import argparse
import os
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any
from uuid import UUID

from benchmarks import scratch  # noqa: F401  # isort: skip  # first: models need it

import psutil
from django.conf import settings
from django.db import connections
from PIL import Image

from agent.bridges.addresses import read_address
from agent.bridges.events import Kind, MediaRef, MessageReceived
from messaging.inbound import receive_message
from messaging.media import fetching
from messaging.models import Media
from sessions_app.models import Bridge
from sessions_app.services import ensure_default_bridges
from tests.support.bridges.fake_waha import FakeWaha

WARM_UP = 10
MAX_GROWTH_MB = 30.0
SIDE = 1200  # pixels; of noise, so that a JPEG has about 2 MB


def photo() -> bytes:
    content = BytesIO()
    Image.frombytes("RGB", (SIDE, SIDE), os.urandom(SIDE * SIDE * 3)).save(content, "JPEG", quality=97)
    return content.getvalue()


def receive(bridge: Bridge, waha: FakeWaha, content: bytes, number: int) -> UUID:
    path = f"/api/files/sales/{number}.jpeg"
    waha.files[path] = content
    person = read_address("5511988887777@s.whatsapp.net")
    event = MessageReceived(
        session="sales",
        provider_message_id=f"3EB0{number:08}",
        chat=person,
        sender=person,
        kind=Kind.IMAGE,
        media=MediaRef(ref=path, downloadable=True),
    )
    return Media.objects.get(message=receive_message(bridge=bridge, event=event).message_id).pk


def process(media_id: UUID) -> None:
    try:
        fetching.process(media_id)
    finally:
        connections.close_all()


def rss_mb() -> float:
    return psutil.Process().memory_info().rss / 1e6


def main(arguments: argparse.Namespace) -> int:
    ensure_default_bridges()
    content = photo()
    with FakeWaha() as waha, ThreadPoolExecutor(settings.MEDIA_CONCURRENCY) as pool:
        waha.add_session("sales", phone="5511999990000")
        Bridge.objects.filter(slug="default").update(kind="waha", base_url=waha.url, api_key=waha.api_key)
        bridge = Bridge.objects.get(slug="default")
        waiting = [receive(bridge, waha, content, number) for number in range(WARM_UP + arguments.images)]
        list(pool.map(process, waiting[:WARM_UP]))
        before, peak, started = rss_mb(), 0.0, time.perf_counter()
        jobs = [pool.submit(process, media_id) for media_id in waiting[WARM_UP:]]
        while not all(job.done() for job in jobs):
            peak = max(peak, rss_mb())
            time.sleep(0.01)
        seconds = time.perf_counter() - started
    done: Any = Media.objects.filter(status=Media.Status.READY).exclude(preview="")
    child_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    size_mb, at_once = len(content) / 1e6, settings.MEDIA_CONCURRENCY
    print(f"{arguments.images} images of {size_mb:.1f} MB, {at_once} at once: {seconds:.1f} s")
    print(f"  fetched and downscaled            {done.count() - WARM_UP:>8}")
    print(f"  memory before, at most            {before:>8.1f} {peak:>8.1f} MB")
    print(f"  growth                            {peak - before:>8.1f} MB       <= {MAX_GROWTH_MB:g}")
    print(f"  largest process of one image      {child_mb:>8.1f} MB")
    return int(done.count() != len(waiting) or peak - before > MAX_GROWTH_MB)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fetch and downscale received images.")
    parser.add_argument("--images", type=int, default=100)
    sys.exit(main(parser.parse_args()))

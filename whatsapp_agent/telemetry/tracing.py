"""OpenTelemetry traces, where OTEL_EXPORTER_OTLP_ENDPOINT is set: from the webhook over turn and model to the send.

A message may be received, answered and sent by three processes. Nothing is passed on between them: the id of the trace
is the id of the inbound message (both have 128 bits), the id of a turn's span is the end of the turn's id, and so every
process can name the parent of its spans. Without the setting nothing is imported.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import cache
from os import getpid
from typing import Any
from uuid import UUID

from django.conf import settings

from whatsapp_agent.version import VERSION

SPAN_BITS = (1 << 64) - 1
FLUSH_MS = 3000

_next_ids: ContextVar[tuple[int, int] | None] = ContextVar("next_ids", default=None)  # of the span that is started now


def is_on() -> bool:
    return bool(settings.OTEL_EXPORTER_OTLP_ENDPOINT)


@contextmanager
def part(
    name: str,
    *,
    trace: UUID,
    own: UUID | None = None,
    parent: UUID | None = None,
    started_at: datetime | None = None,
    **attributes: Any,
) -> Iterator[Callable[..., None]]:
    """Trace what runs within as a part of a message's trace; yields a function that adds attributes.

    `own` is what the span is about, so that other processes can name it as `parent`; one without a parent is the first
    of its trace. With tracing off it does nothing.
    """
    if not is_on():
        yield _nothing
        return
    from opentelemetry import context
    from opentelemetry import trace as api

    above = context.Context()
    if parent is not None:
        flags = api.TraceFlags(api.TraceFlags.SAMPLED)
        remote = api.SpanContext(trace.int, parent.int & SPAN_BITS, is_remote=True, trace_flags=flags)
        above = api.set_span_in_context(api.NonRecordingSpan(remote), above)
    token = _next_ids.set((trace.int, own.int & SPAN_BITS) if own else None)
    try:
        started = _tracer(getpid()).start_span(
            name,
            context=above,
            start_time=int(started_at.timestamp() * 1e9) if started_at else None,
            attributes=_plain(attributes),
        )
    finally:
        _next_ids.reset(token)
    with api.use_span(started, end_on_exit=True, record_exception=False):
        yield lambda **more: started.set_attributes(_plain(more))


@contextmanager
def span(name: str, **attributes: Any) -> Iterator[Callable[..., None]]:
    """Trace what runs within as a part of the current span; yields a function that adds attributes."""
    if not is_on():
        yield _nothing
        return
    from opentelemetry import trace as api

    if not api.get_current_span().get_span_context().is_valid:  # nobody has started a trace
        yield _nothing
        return
    with _tracer(getpid()).start_as_current_span(
        name, attributes=_plain(attributes), record_exception=False, set_status_on_exception=True
    ) as part:
        yield lambda **more: part.set_attributes(_plain(more))


def stop() -> None:
    """Send what was recorded; call it before the process ends."""
    if is_on() and _provider.cache_info().currsize:
        _provider(getpid()).force_flush(FLUSH_MS)


def _nothing(**_: Any) -> None:
    pass


def _plain(attributes: dict[str, Any]) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, UUID) else value
        for name, value in attributes.items()
        if value is not None
    }


def _tracer(process: int) -> Any:
    return _provider(process).get_tracer("whatsapp_agent", VERSION)


@cache
def _provider(_process: int) -> Any:
    """Return this process's provider. It sends from a thread of its own, which a fork does not take along."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    class Ids(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            ids = _next_ids.get()
            return ids[0] if ids else super().generate_trace_id()

        def generate_span_id(self) -> int:
            ids = _next_ids.get()
            return ids[1] if ids else super().generate_span_id()

    provider = TracerProvider(
        resource=Resource.create({"service.name": settings.OTEL_SERVICE_NAME, "service.version": VERSION}),
        id_generator=Ids(),
        sampler=ALWAYS_ON,
    )
    headers = dict(pair.split("=", 1) for pair in settings.OTEL_EXPORTER_OTLP_HEADERS if "=" in pair)
    exporter = OTLPSpanExporter(f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT}/v1/traces", headers=headers)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider

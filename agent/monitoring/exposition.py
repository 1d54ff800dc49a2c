"""The text that Prometheus scrapes: the totals of all processes, and what the database knows at this moment."""

from collections.abc import Iterator

from django.conf import settings
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.models import MetricTotal
from agent.monitoring import instruments
from agent.monitoring.gauges import PREFIX, read_gauges
from whatsapp_agent.telemetry import metrics
from whatsapp_agent.telemetry.metrics import Counter, Histogram

Totals = dict[str, list[tuple[list[str], list[float]]]]
TOKENS_PER_PRICE = 1_000_000


def render() -> bytes:
    """Return all metrics in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_All())
    return generate_latest(registry)


class _All(Collector):
    def collect(self) -> Iterator[Metric]:
        totals: Totals = {}
        for name, labels, values in MetricTotal.objects.order_by("name", "labels").values_list(
            "name", "labels", "values"
        ):
            totals.setdefault(name, []).append((labels, values))
        for metric in metrics.registry.values():
            if isinstance(metric, Counter):
                yield _counter(metric, totals)
            elif isinstance(metric, Histogram):
                yield _histogram(metric, totals)
        yield _cost(totals)
        yield from read_gauges()


def _counter(metric: Counter, totals: Totals) -> CounterMetricFamily:
    family = CounterMetricFamily(PREFIX + metric.name, metric.description, labels=metric.labels)
    for labels, values in totals.get(metric.name, []):
        if len(labels) == len(metric.labels):  # an older version had others
            family.add_metric(labels, values[0])
    return family


def _histogram(metric: Histogram, totals: Totals) -> HistogramMetricFamily:
    family = HistogramMetricFamily(PREFIX + metric.name, metric.description, labels=metric.labels)
    for labels, values in totals.get(metric.name, []):
        if len(labels) != len(metric.labels) or len(values) != len(metric.buckets) + 2:
            continue
        *counts, total_s = values
        bounds = [*map(str, metric.buckets), "+Inf"]
        cumulative = [(bound, sum(counts[: at + 1])) for at, bound in enumerate(bounds)]
        family.add_metric(labels, buckets=cumulative, sum_value=total_s)
    return family


def _cost(totals: Totals) -> CounterMetricFamily:
    """Return what the tokens cost at today's MODEL_PRICES, for the models that have a price."""
    family = CounterMetricFamily(
        f"{PREFIX}model_cost", "What the tokens cost, at the prices of MODEL_PRICES.", labels=["model"]
    )
    cost: dict[str, float] = {}
    for labels, values in totals.get(instruments.TOKENS.name, []):
        if len(labels) != len(instruments.TOKENS.labels):  # an older version had others
            continue
        model, kind = labels
        if (price := settings.MODEL_PRICES.get(model, {}).get(kind)) is not None:
            cost[model] = cost.get(model, 0.0) + values[0] * price / TOKENS_PER_PRICE
    for model, amount in sorted(cost.items()):
        family.add_metric([model], amount)
    return family

"""What is counted as it happens. What the database knows anyway is read from it: see `agent.monitoring.gauges`."""

from whatsapp_agent.telemetry.metrics import Counter, Histogram

WEBHOOK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
WAITING_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0)

WEBHOOK_REQUESTS = Counter(
    "webhook_requests", "Webhook requests of bridges, by kind of bridge and HTTP status.", labels=("bridge", "status")
)
WEBHOOK_SECONDS = Histogram(
    "webhook_seconds", "Time until a webhook request was stored and answered.", buckets=WEBHOOK_BUCKETS
)
BRIDGE_EVENTS = Counter(
    "bridge_events",
    "Events in webhook requests, by kind and by what became of them: kept, ignored, malformed or not_kept.",
    labels=("kind", "result"),
)
TURNS = Counter("turns", "Turns that ended, by outcome.", labels=("outcome",))
TURN_SECONDS = Histogram(
    "turn_seconds",
    "Time from the beginning of a turn until its replies were queued, by outcome.",
    buckets=WAITING_BUCKETS,
    labels=("outcome",),
)
STEPS = Counter(
    "model_requests", "Requests to the model, by model and result: ok, or what failed.", labels=("model", "result")
)
STEP_SECONDS = Histogram(
    "model_request_seconds", "Time of one request to the model.", buckets=WAITING_BUCKETS, labels=("model",)
)
TOKENS = Counter(
    "model_tokens",
    "Tokens that turns used, by model and kind: prompt (without cached), cached or completion.",
    labels=("model", "kind"),
)
SENDS = Counter(
    "sends",
    "Messages handed to a bridge, by its kind and the result: sent, not_sent, failed or unconfirmed.",
    labels=("bridge", "result"),
)
SEND_SECONDS = Histogram(
    "send_seconds", "Time until the bridge answered to a message.", buckets=WAITING_BUCKETS, labels=("bridge",)
)
ENDPOINT_REQUESTS = Counter(
    "endpoint_requests", "Events posted to webhook endpoints: accepted or failed.", labels=("result",)
)

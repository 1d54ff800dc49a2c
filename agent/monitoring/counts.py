"""Store what this process counted: it is added to the totals of all processes."""

from collections.abc import Sequence

from django.db import connection, transaction

from whatsapp_agent.periodic import periodic
from whatsapp_agent.telemetry import metrics
from whatsapp_agent.telemetry.metrics import Counted

STORE_EVERY_S = 5
# Rows in one order, so that two processes do not wait for each other.
ADD_TO_TOTALS = """
INSERT INTO agent_metrictotal AS total (name, labels, values)
SELECT name, labels, values FROM jsonb_to_recordset(%s::jsonb) AS counted (name text, labels text[], values float8[])
 ORDER BY name, labels
ON CONFLICT (name, labels) DO UPDATE
   SET values = (SELECT array_agg(COALESCE(was, 0) + COALESCE(more, 0) ORDER BY place)
                   FROM unnest(total.values, EXCLUDED.values) WITH ORDINALITY AS each (was, more, place))
"""


@periodic(every_s=STORE_EVERY_S, in_each_process=True, in_web_processes=True)
def store_counts() -> None:
    """Add what was counted since the last call to the totals. What cannot be stored is counted again later."""
    counted = metrics.take_all()
    if not counted:
        return
    try:
        _add(counted)
    except BaseException:
        metrics.give_back(counted)
        raise


@transaction.atomic
def _add(counted: Sequence[Counted]) -> None:
    import orjson

    rows = [{"name": each.name, "labels": each.labels, "values": each.values} for each in counted]
    with connection.cursor() as cursor:
        cursor.execute(ADD_TO_TOTALS, [orjson.dumps(rows).decode()])

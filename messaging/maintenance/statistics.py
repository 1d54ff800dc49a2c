"""Keep PostgreSQL's statistics fresh while tables grow fast.

Autovacuum looks once a minute: on a new installation, or after an import, statements would have the plans of small
tables for so long. A table that has doubled is analyzed at once.
"""

import structlog
from django.db import connection

from whatsapp_agent.periodic import periodic

log = structlog.get_logger(__name__)

MIN_CHANGED_ROWS = 100
# Changed rows against the number of rows at the last ANALYZE. Only tables of ours, and only what this user owns.
GROWN_TABLES = """
SELECT format('%%I', class.relname)
  FROM pg_class class JOIN pg_stat_user_tables statistics ON statistics.relid = class.oid
 WHERE class.relnamespace = current_schema()::regnamespace AND pg_has_role(class.relowner, 'USAGE')
   AND class.relname LIKE ANY (ARRAY['messaging\\_%%', 'sessions\\_app\\_%%', 'accounts\\_%%'])
   AND statistics.n_mod_since_analyze >= GREATEST(%(min_changed)s, class.reltuples)
"""


@periodic(every_s=2, may_block=True)
def analyze_grown_tables() -> list[str]:
    """Analyze the tables that have doubled since it was last done; return their names."""
    with connection.cursor() as cursor:
        cursor.execute(GROWN_TABLES, {"min_changed": MIN_CHANGED_ROWS})
        tables = [row[0] for row in cursor.fetchall()]
        for table in tables:
            cursor.execute(f"ANALYZE (SKIP_LOCKED) {table}")
    if tables:
        log.debug("tables_analyzed", tables=tables)
    return tables

"""Embeddings of messages: made in the background by OPENAI_EMBEDDING_MODEL, compared by pgvector.

Without that setting nothing here touches the database. A message is embedded together with the one before it, because a
short message means little alone.
"""

import time
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from agent.llm import embedder_for_settings
from agent.llm.base import ModelError, ModelRefused
from messaging.models import Embedding, EmbeddingModel
from whatsapp_agent import postgres
from whatsapp_agent.periodic import periodic

log = structlog.get_logger(__name__)

BATCH = 64
CLAIM_S = 120
MAX_TEXT_CHARS = 2000  # of one message; small models read less
FAILURE_PAUSE_S = 60.0
QUERY_TIMEOUT_S = 3.0  # of a search; after that it uses words alone
MAX_EXACT = 5_000  # vectors of a conversation that are all compared; with more, pgvector's index is used
MIN_PGVECTOR = [0, 8]  # the first with iterative index scans, which find enough within one conversation
MAX_INDEXED_DIMENSIONS = 4000  # pgvector's limit for an index of halfvec

SELECT_AVAILABLE_EXTENSION = "SELECT FROM pg_available_extensions WHERE name = %s"
LIST_UNEMBEDDED = """
INSERT INTO messaging_unembeddedmessage (message_id, not_before)
SELECT entry.message_id, now() FROM messaging_searchentry entry
 WHERE entry.word_count > 0 AND NOT EXISTS (
     SELECT FROM messaging_embedding embedding JOIN messaging_embeddingmodel model ON model.id = embedding.model_id
      WHERE embedding.message_id = entry.message_id AND model.name = %s)
ON CONFLICT (message_id) DO NOTHING
"""
LIST_INDEXED = """
INSERT INTO messaging_unembeddedmessage (message_id, not_before)
SELECT message_id, now() FROM messaging_searchentry WHERE message_id = ANY(%s::uuid[]) AND word_count > 0
ON CONFLICT (message_id) DO UPDATE SET not_before = now()
"""
CLAIM_WAITING = """
UPDATE messaging_unembeddedmessage SET not_before = now() + make_interval(secs => %s) WHERE message_id IN (
    SELECT message_id FROM messaging_unembeddedmessage WHERE not_before <= now()
     ORDER BY message_id DESC LIMIT %s FOR UPDATE SKIP LOCKED)
RETURNING message_id, not_before
"""
SELECT_TEXTS = """
WITH named AS NOT MATERIALIZED (
    SELECT message.id, message.conversation_id, message.said_at,
           concat_ws(': ', NULLIF(CASE message.author WHEN 'contact' THEN contact.name WHEN 'agent' THEN profile.name
                                                      ELSE session.display_name END, ''), message.text) AS text
      FROM messaging_message message
      JOIN sessions_app_whatsappsession session ON session.id = message.session_id
      JOIN sessions_app_agentprofile profile ON profile.id = session.agent_profile_id
      LEFT JOIN messaging_contact contact ON contact.id = message.sender_id
     WHERE message.text <> '' AND message.revoked_at IS NULL AND message.kind <> 'reaction'
)
SELECT own.id, concat_ws(E'\\n', left(prior.text, %(most)s / 4), left(own.text, %(most)s))
  FROM named own LEFT JOIN LATERAL (
      SELECT text FROM named
       WHERE conversation_id = own.conversation_id AND (said_at, id) < (own.said_at, own.id)
       ORDER BY said_at DESC, id DESC LIMIT 1) prior ON true
 WHERE own.id = ANY(%(ids)s::uuid[])
"""
UPSERT_EMBEDDINGS = """
INSERT INTO messaging_embedding (message_id, conversation_id, model_id, vector)
SELECT message.id, message.conversation_id, %s, new.vector::real[]
  FROM unnest(%s::uuid[], %s::text[]) new(message_id, vector) JOIN messaging_message message ON message.id = message_id
 ORDER BY message.id DESC
   FOR KEY SHARE OF message SKIP LOCKED
ON CONFLICT (message_id) DO UPDATE
   SET conversation_id = EXCLUDED.conversation_id, model_id = EXCLUDED.model_id, vector = EXCLUDED.vector
RETURNING message_id
"""
# A message that was listed again meanwhile has another `not_before` and stays; one that is being listed is locked.
DELETE_EMBEDDED = """
DELETE FROM messaging_unembeddedmessage WHERE message_id IN (
    SELECT waiting.message_id FROM messaging_unembeddedmessage waiting
      JOIN unnest(%s::uuid[], %s::timestamptz[]) done(message_id, not_before)
        ON waiting.message_id = done.message_id AND waiting.not_before = done.not_before
       FOR UPDATE OF waiting SKIP LOCKED)
"""
SELECT_NEAREST_EXACT = """
WITH own AS MATERIALIZED (
    SELECT message_id, vector FROM messaging_embedding
     WHERE conversation_id = %(conversation)s AND model_id = %(model)s)
SELECT message_id, 1 - (vector::vector({dimension}) <=> %(query)s::vector({dimension})) AS likeness
  FROM own ORDER BY likeness DESC LIMIT %(limit)s
"""
SELECT_NEAREST_INDEXED = """
SELECT message_id, 1 - (vector::halfvec({dimension}) <=> %(query)s::halfvec({dimension})) AS likeness
  FROM messaging_embedding WHERE conversation_id = %(conversation)s AND model_id = {model}
 ORDER BY vector::halfvec({dimension}) <=> %(query)s::halfvec({dimension}) LIMIT %(limit)s
"""


class NoPgvector(Exception):
    """The server has no usable pgvector; the text says what to do."""


class State:
    """State of this process: the model it has prepared, and until when it pauses after a failure."""

    prepared: tuple[str, str] | None = None  # database, model
    pause_until = 0.0


def list_for_embedding(message_ids: Sequence[UUID]) -> None:
    """List these messages for embedding, if a model is set."""
    if settings.OPENAI_EMBEDDING_MODEL and message_ids:
        with connection.cursor() as cursor:
            cursor.execute(LIST_INDEXED, [list(message_ids)])


@periodic(every_s=lambda: settings.AGENT_SWEEP_S, may_block=True)
def embed_waiting(*, batches: int = 10) -> int:
    """Embed waiting messages, newest first, in at most `batches` batches; return how many are done."""
    done = 0
    for _ in range(batches):
        count = _embed_batch()
        done += count
        if count < BATCH:
            break
    return done


def _embed_batch() -> int:
    embedder = embedder_for_settings(timeout_s=settings.MODEL_TIMEOUT_S)
    if embedder is None or time.monotonic() < State.pause_until:
        return 0
    try:
        prepare()
    except NoPgvector as exc:
        log.error("embeddings_impossible", reason=str(exc))
        State.pause_until = time.monotonic() + FAILURE_PAUSE_S
        return 0
    with connection.cursor() as cursor:
        cursor.execute(CLAIM_WAITING, [CLAIM_S, BATCH])
        claims = dict(cursor.fetchall())
        cursor.execute(SELECT_TEXTS, {"ids": list(claims), "most": MAX_TEXT_CHARS})
        texts = dict(cursor.fetchall())
    if not claims:
        return 0
    claimed = len(claims)
    postgres.release()
    try:
        vectors = _embed(embedder.embed, texts)
    except ModelError as exc:
        log.warning("embedding_failed", code=exc.code, waiting=len(claims))
        State.pause_until = time.monotonic() + (exc.retry_after_s or FAILURE_PAUSE_S)
        return 0  # they are claimed again when this claim expires
    with transaction.atomic(), connection.cursor() as cursor:
        if vectors:
            model = _model_of(embedder.model, dimension=len(next(iter(vectors.values()))))
            cursor.execute(
                UPSERT_EMBEDDINGS, [model.pk, list(vectors), [_array(vector) for vector in vectors.values()]]
            )
            for key in vectors.keys() - {key for (key,) in cursor.fetchall()}:
                del claims[key]  # it is being deleted; if it is not after all, it is claimed again
        cursor.execute(DELETE_EMBEDDED, [list(claims), list(claims.values())])
    return claimed


def prepare() -> None:
    """Create what the model needs: pgvector, an index, the list of older messages. Raises NoPgvector."""
    state = (connection.settings_dict["NAME"], settings.OPENAI_EMBEDDING_MODEL)
    if State.prepared == state:
        return
    require_pgvector()
    if (model := current_model(settings.OPENAI_EMBEDDING_MODEL)) is not None:
        with transaction.atomic():
            _ensure_index(model)  # it was dropped if another model was set in between
    with connection.cursor() as cursor:
        cursor.execute(LIST_UNEMBEDDED, [settings.OPENAI_EMBEDDING_MODEL])
    State.prepared = state


def require_pgvector() -> None:
    """Create the extension where it is missing. Raises NoPgvector."""
    with connection.cursor() as cursor:
        cursor.execute(SELECT_AVAILABLE_EXTENSION, ["vector"])
        if cursor.fetchone() is None:
            raise NoPgvector(
                "OPENAI_EMBEDDING_MODEL is set, but this PostgreSQL has no pgvector. Install its package on the "
                "database server, or leave OPENAI_EMBEDDING_MODEL empty."
            )
        try:
            with transaction.atomic():
                cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except DatabaseError as exc:
            raise NoPgvector(
                "OPENAI_EMBEDDING_MODEL is set, but our database user may not create the extension. As a superuser, "
                "run in this database: CREATE EXTENSION vector;"
            ) from exc
        cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        [version] = cursor.fetchone()
    if [int(part) for part in version.split(".")[:2]] < MIN_PGVECTOR:
        raise NoPgvector(
            f"OPENAI_EMBEDDING_MODEL is set, but pgvector is {version} here and must be 0.8 or newer. Update its "
            "package on the database server, then run in this database: ALTER EXTENSION vector UPDATE;"
        )


def _embed(embed: Callable[[Sequence[str]], list[list[float]]], texts: dict[UUID, str]) -> dict[UUID, list[float]]:
    """Return the vectors of the texts that the model accepts. Raises ModelError when it accepts none."""
    if not texts:
        return {}
    try:
        return dict(zip(texts, embed(list(texts.values())), strict=True))
    except ModelRefused as exc:
        if exc.code not in {"bad_request", "context_too_long"}:
            raise
    vectors: dict[UUID, list[float]] = {}
    for key, text in texts.items():  # it refuses one of them: find out which
        try:
            vectors[key] = embed([text])[0]
        except ModelRefused as exc:
            if len(texts) > 1 and not vectors and key == list(texts)[-1]:
                raise
            log.warning("embedding_refused", message=str(key), code=exc.code)
    return vectors


def _model_of(name: str, *, dimension: int) -> EmbeddingModel:
    """Return the model's row; create it, with an index for its vectors, if it is new."""
    model = current_model(name)
    if model is not None and model.dimension == dimension:
        return model
    model, _ = EmbeddingModel.objects.update_or_create(
        name=name, dimension=dimension, defaults={"created_at": timezone.now()}
    )
    _ensure_index(model)
    return model


def _ensure_index(model: EmbeddingModel) -> None:
    """Create the index for this model's vectors and drop those of other models. Call in a transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('messaging_embeddingmodel'))")
        for other in EmbeddingModel.objects.exclude(pk=model.pk).values_list("pk", flat=True):
            cursor.execute(f"DROP INDEX IF EXISTS messaging_embedding_nearest_{int(other)}")
        if model.dimension <= MAX_INDEXED_DIMENSIONS:
            cursor.execute(
                f"CREATE INDEX IF NOT EXISTS messaging_embedding_nearest_{model.pk} ON messaging_embedding USING hnsw "
                f"((vector::halfvec({model.dimension})) halfvec_cosine_ops) WHERE model_id = {model.pk}"
            )


def current_model(name: str) -> EmbeddingModel | None:
    """Return the latest row of the model: its dimension may have changed."""
    return EmbeddingModel.objects.filter(name=name).order_by("-created_at", "-id").first()


def _array(vector: Sequence[float]) -> str:
    return f"{{{','.join(map(repr, vector))}}}"


# --- searching ----------------------------------------------------------------------------------------------------


def nearest(*, conversation_id: UUID, query: str, limit: int) -> dict[UUID, float]:
    """Return a conversation's messages nearest in meaning, with their similarity (1 is equal), nearest first.

    Empty when embeddings are off, nothing is embedded yet, or the model does not answer in time.
    """
    embedder = embedder_for_settings(timeout_s=QUERY_TIMEOUT_S)
    if embedder is None or time.monotonic() < State.pause_until:
        return {}
    model = current_model(embedder.model)
    if model is None:
        return {}
    postgres.release()
    try:
        [vector] = embedder.embed([query[:MAX_TEXT_CHARS]])
    except ModelError as exc:
        log.warning("embedding_failed", code=exc.code)
        State.pause_until = time.monotonic() + (exc.retry_after_s or FAILURE_PAUSE_S)
        return {}
    if len(vector) != model.dimension:
        return {}  # the name stands for another model now; the background job will notice
    try:
        return _compare(conversation_id, model, vector, limit)
    except DatabaseError as exc:  # pgvector was removed, or the database restored without it
        log.warning("vectors_not_compared", error=type(exc).__name__)
        return {}


def _compare(conversation_id: UUID, model: EmbeddingModel, vector: list[float], limit: int) -> dict[UUID, float]:
    own = Embedding.objects.filter(conversation_id=conversation_id)
    is_long = own.values("pk")[: MAX_EXACT + 1].count() > MAX_EXACT and model.dimension <= MAX_INDEXED_DIMENSIONS
    statement = (SELECT_NEAREST_INDEXED if is_long else SELECT_NEAREST_EXACT).format(
        dimension=model.dimension, model=model.pk
    )
    with transaction.atomic(), connection.cursor() as cursor:
        if is_long:  # scan on until enough of this conversation are found
            cursor.execute("SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true)")
        cursor.execute(
            statement,
            {
                "conversation": conversation_id,
                "model": model.pk,
                "query": f"[{','.join(map(repr, vector))}]",
                "limit": limit,
            },
        )
        rows = cursor.fetchall()
    return dict(sorted(rows, key=lambda row: -row[1]))

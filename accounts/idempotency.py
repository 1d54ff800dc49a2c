"""`Idempotency-Key`: a POST that is sent twice runs once and gets the same response twice.

Format: draft-ietf-httpapi-idempotency-key-header-07. Put `@idempotent` on a viewset's method that creates or sends:

    @idempotent
    def create(self, request: Request) -> Response: ...

The key's row is claimed and committed before the handler runs, so that of concurrent requests one runs and the others
get 409. The handler's changes and its response are committed together: after a crash both are stored or neither, and
the claim expires after CLAIM_TTL_S. A request that lost its claim meanwhile is rolled back.
"""

import functools
import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from typing import Any, overload
from uuid import UUID, uuid4

from django.core.files.uploadedfile import UploadedFile
from django.db import connection, transaction
from django.http import QueryDict
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import IdempotentRequest
from whatsapp_agent.errors import AppError
from whatsapp_agent.periodic import periodic
from whatsapp_agent.storage.encryption import decrypt, encrypt

RETENTION = timedelta(hours=24)
CLAIM_TTL_S = 120  # longer than any bridge request; then the claiming process counts as dead
MAX_KEY_LENGTH = 255

Handler = Callable[..., Response]

# Returns a row to one of several concurrent requests. Takes over an abandoned claim; starts again after RETENTION.
CLAIM_REQUEST = """
INSERT INTO accounts_idempotentrequest AS stored
    (caller, route, key, fingerprint, token, claimed_at, created_at, status_code, answer, location)
VALUES (%(caller)s, %(route)s, %(key)s, %(fingerprint)s, %(token)s, now(), now(), NULL, '', '')
ON CONFLICT (caller, route, key) DO UPDATE
   SET token = excluded.token, claimed_at = now(), fingerprint = excluded.fingerprint, status_code = NULL, answer = '',
       location = '', created_at = CASE WHEN stored.created_at < %(expired)s THEN now() ELSE stored.created_at END
 WHERE stored.created_at < %(expired)s
    OR (stored.status_code IS NULL AND stored.fingerprint = excluded.fingerprint AND stored.claimed_at < %(abandoned)s)
RETURNING id
"""

_QUOTED = r'"(?:[!#-\[\]-~]|\\["\\])(?:[ !#-\[\]-~]|\\["\\])*"'
_BARE = r"[!#-~](?:[ -~]*[!-~])?"
PATTERN = f"^(?:{_BARE}|{_QUOTED})$"


class InvalidIdempotencyKey(AppError):
    status, code = 400, "invalid_idempotency_key"
    detail = f"Idempotency-Key must be 1 to {MAX_KEY_LENGTH} visible ASCII characters, for example a UUID."


class IdempotencyKeyReused(AppError):
    status, code = 422, "idempotency_key_reused"
    detail = "This Idempotency-Key was used for a different request."


class IdempotencyKeyInUse(AppError):
    status, code = 409, "idempotency_key_in_use"
    detail = "A request with this Idempotency-Key is still running. Retry later."


class _RollBack(Exception):
    """Rolls back: the handler failed with 5xx, or the claim was lost."""


@overload
def idempotent(handler: Handler) -> Handler: ...
@overload
def idempotent(
    *, atomic: bool | Callable[[Any], bool] = True, first: Callable[[Any, Request], None] | None = None
) -> Callable[[Handler], Handler]: ...
def idempotent(
    handler: Handler | None = None,
    *,
    atomic: bool | Callable[[Any], bool] = True,
    first: Callable[[Any, Request], None] | None = None,
) -> Any:
    """Run the handler once per `Idempotency-Key`; without the header it runs as usual.

    `atomic=False` for a handler that waits for a bridge and must not hold a transaction: after a crash it runs again.
    Where that depends on the request, `atomic` is a function of the view.
    `first(view, request)` runs before the transaction begins: slow work that may run twice.
    """
    if handler is None:
        return functools.partial(idempotent, atomic=atomic, first=first)

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "Idempotency-Key",
                {"type": "string", "maxLength": MAX_KEY_LENGTH, "pattern": PATTERN},
                OpenApiParameter.HEADER,
                description=(
                    "Makes repeating the request safe: for 24 hours the same key and body are given the stored answer, "
                    "with `Idempotent-Replayed: true`."
                ),
            )
        ]
    )
    @functools.wraps(handler)
    def once(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        header = request.headers.get("Idempotency-Key")
        if header is None:
            if first is not None:
                first(view, request)
            return handler(view, request, *args, **kwargs)
        is_atomic = atomic(view) if callable(atomic) else atomic
        claim = _Claim(request, key=parse_key(header))
        if not claim.take():
            return claim.replay()
        work = functools.partial(_answer, view, handler, request, *args, **kwargs)
        if first is not None:
            refusal = claim.prepare(functools.partial(_answer, view, first, request))
            if refusal is not None:
                return refusal
        return claim.run_in_transaction(work) if is_atomic else claim.run(work)

    once.takes_idempotency_key = True  # type: ignore[attr-defined]
    return once


def parse_key(header: str) -> str:
    """Return the key: a quoted string, as in the draft, or the bare value that most clients send."""
    key = header.strip()
    if len(key) > MAX_KEY_LENGTH or not re.fullmatch(PATTERN, key):
        raise InvalidIdempotencyKey()
    return re.sub(r'\\(["\\])', r"\1", key[1:-1]) if key.startswith('"') else key


def _answer(view: Any, handler: Callable[..., Any], request: Request, *args: Any, **kwargs: Any) -> Any:
    """Return the view's response. An exception that the view answers becomes its response and is stored too."""
    try:
        return handler(view, request, *args, **kwargs)
    except Exception as exc:  # noqa: BLE001  what has no answer is raised again by the view
        return view.handle_exception(exc)


class _Claim:
    """The right to run one request."""

    def __init__(self, request: Request, *, key: str) -> None:
        self.token = uuid4()
        self.identity = {"caller": caller_of(request), "route": request.path[:200], "key": key}
        self.fingerprint = fingerprint_of(request)

    def take(self) -> bool:
        """Claim the key; return whether this request runs. Raises IdempotencyKeyReused or IdempotencyKeyInUse."""
        now = timezone.now()
        parameters: dict[str, Any] = self.identity | {
            "fingerprint": self.fingerprint,
            "token": self.token,
            "expired": now - RETENTION,
            "abandoned": now - timedelta(seconds=CLAIM_TTL_S),
        }
        with connection.cursor() as cursor:
            cursor.execute(CLAIM_REQUEST, parameters)
            if cursor.fetchone():
                return True
        self.stored = IdempotentRequest.objects.filter(**self.identity).first()
        if self.stored is not None and self.stored.fingerprint != self.fingerprint:
            raise IdempotencyKeyReused()
        if self.stored is None or self.stored.status_code is None:
            raise IdempotencyKeyInUse()
        return False

    def replay(self) -> Response:
        assert self.stored is not None
        assert self.stored.status_code is not None
        headers = {"Idempotent-Replayed": "true"}
        if self.stored.location:
            headers["Location"] = self.stored.location
        return Response(json.loads(decrypt(self.stored.answer)), status=self.stored.status_code, headers=headers)

    def run_in_transaction(self, work: Callable[[], Response]) -> Response:
        response: Response | None = None
        try:
            with transaction.atomic():
                response = work()
                if response.status_code >= 500 or not self._store(response):
                    raise _RollBack
        except _RollBack:
            assert response is not None
            if response.status_code < 500:
                raise IdempotencyKeyInUse() from None
            self._release()
        except BaseException:
            self._release()
            raise
        return response

    def run(self, work: Callable[[], Response]) -> Response:
        response = self.prepare(work)
        assert response is not None
        return response

    def prepare(self, work: Callable[[], Response | None]) -> Response | None:
        """Run `work` and store its response; None means that the handler is still to run."""
        try:
            response = work()
        except BaseException:
            self._release()
            raise
        if response is not None and response.status_code < 500:
            self._store(response)
        elif response is not None:
            self._release()
        return response

    def _claimed(self) -> Any:
        return IdempotentRequest.objects.filter(**self.identity, token=self.token, status_code=None)

    def _store(self, response: Response) -> bool:
        """Store the response for a replay; return False if the claim was lost."""
        answer = encrypt(JSONRenderer().render(response.data).decode() or "null")  # it may hold a new secret
        location = response.headers.get("Location", "")
        return bool(self._claimed().update(status_code=response.status_code, answer=answer, location=location))

    def _release(self) -> None:
        self._claimed().delete()


def caller_of(request: Request) -> str:
    """Return what identifies the caller: an API key, a user, or the address of an anonymous caller."""
    if isinstance(key_id := getattr(request.auth, "pk", None), UUID | int):
        return f"key:{key_id}"
    if request.user.is_authenticated:
        return f"user:{request.user.pk}"
    return f"address:{request.META.get('REMOTE_ADDR', '')}"


def fingerprint_of(request: Request) -> str:
    """Return the SHA-256 of the query and the body; the order of fields and the boundary of a form do not count."""
    digest = hashlib.sha256(json.dumps(sorted(request.query_params.lists())).encode())
    data = request.data
    if isinstance(data, QueryDict):
        for name in sorted(data):
            for value in data.getlist(name):
                digest.update(json.dumps(name).encode())
                for part in _parts(value):
                    digest.update(part)
    else:
        digest.update(json.dumps(data, sort_keys=True).encode())
    return digest.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    if not isinstance(value, UploadedFile):
        yield json.dumps(str(value)).encode()
        return
    yield json.dumps([value.name, value.content_type, value.size]).encode()
    yield from value.chunks()
    value.seek(0)


def forget_answers(needles: Collection[str]) -> int:
    """Replace stored responses that contain one of these texts, so that none is replayed; return how many.

    The key stays: a request that is sent again must not run again.
    """
    count = 0
    gone = encrypt(json.dumps({"detail": "What this request was about was deleted.", "code": "gone"}))
    for pk, answer in IdempotentRequest.objects.exclude(answer="").values_list("pk", "answer").iterator():
        if any(needle and needle in decrypt(answer) for needle in needles):
            count += IdempotentRequest.objects.filter(pk=pk).update(answer=gone, status_code=410, location="")
    return count


@periodic(every_s=5)
def purge() -> None:
    """Delete responses older than RETENTION."""
    IdempotentRequest.objects.filter(created_at__lt=timezone.now() - RETENTION).delete()

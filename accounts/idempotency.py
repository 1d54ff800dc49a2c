"""`Idempotency-Key`: a POST that is sent twice is done once, and answered twice.

As in draft-ietf-httpapi-idempotency-key-header-07. Put `@idempotent` on a viewset's method that creates or sends:

    @idempotent
    def create(self, request: Request) -> Response: ...

The row of the key is claimed and committed before the work begins, so that of many clients one works and the others
hear 409. The work and its answer are then committed together: after a crash either both are there, or neither, and the
claim comes free after CLAIM_TTL_S. Whoever lost its claim meanwhile leaves nothing behind.
"""

import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterator
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
from whatsapp_agent.encryption import decrypt, encrypt
from whatsapp_agent.errors import AppError
from whatsapp_agent.periodic import periodic

RETENTION = timedelta(hours=24)
CLAIM_TTL_S = 120  # longer than the longest call of a bridge; after it the one who claimed is thought dead
MAX_KEY_LENGTH = 255

Handler = Callable[..., Response]

# One statement, so that of many who come at once one gets a row back. A claim is taken from someone who died, or
# begins anew when the time is up.
CLAIM = """
INSERT INTO accounts_idempotentrequest AS kept
    (caller, route, key, fingerprint, token, claimed_at, created_at, status_code, answer, location)
VALUES (%(caller)s, %(route)s, %(key)s, %(fingerprint)s, %(token)s, now(), now(), NULL, '', '')
ON CONFLICT (caller, route, key) DO UPDATE
   SET token = excluded.token, claimed_at = now(), fingerprint = excluded.fingerprint, status_code = NULL, answer = '',
       location = '', created_at = CASE WHEN kept.created_at < %(expired)s THEN now() ELSE kept.created_at END
 WHERE kept.created_at < %(expired)s
    OR (kept.status_code IS NULL AND kept.fingerprint = excluded.fingerprint AND kept.claimed_at < %(abandoned)s)
RETURNING id
"""

_QUOTED = r'"(?:[!#-\[\]-~]|\\["\\])(?:[ !#-\[\]-~]|\\["\\])*"'
_BARE = r"[!#-~](?:[ -~]*[!-~])?"
PATTERN = f"^(?:{_BARE}|{_QUOTED})$"


class InvalidIdempotencyKey(AppError):
    status, code = 400, "invalid_idempotency_key"
    detail = f"Idempotency-Key must be 1 to {MAX_KEY_LENGTH} visible ASCII characters, best a UUID."


class IdempotencyKeyReused(AppError):
    status, code = 422, "idempotency_key_reused"
    detail = "This Idempotency-Key was used for another request. Only a repetition may carry the same key."


class IdempotencyKeyInUse(AppError):
    status, code = 409, "idempotency_key_in_use"
    detail = "A request with this Idempotency-Key is still running. Ask again in a moment."


class _Undone(Exception):
    """What was done must not stay: it failed on our side, or somebody else was given our claim meanwhile."""


@overload
def idempotent(handler: Handler) -> Handler: ...
@overload
def idempotent(
    *, atomic: bool = True, first: Callable[[Any, Request], None] | None = None
) -> Callable[[Handler], Handler]: ...
def idempotent(
    handler: Handler | None = None, *, atomic: bool = True, first: Callable[[Any, Request], None] | None = None
) -> Any:
    """Do what a POST asks once for each `Idempotency-Key`; without that header nothing changes.

    `atomic=False` for a handler that waits for a bridge and so must hold no transaction meanwhile: after a crash in the
    middle it is then done again. `first(view, request)` is done before the transaction begins: what takes long, and may
    be done twice.
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
        claim = _Claim(request, key=parse_key(header))
        if not claim.is_taken():
            return claim.replay()
        work = functools.partial(_answer, view, handler, request, *args, **kwargs)
        if first is not None:
            refusal = claim.prepare(functools.partial(_answer, view, first, request))
            if refusal is not None:
                return refusal
        return claim.run_in_transaction(work) if atomic else claim.run(work)

    once.takes_idempotency_key = True  # type: ignore[attr-defined]
    return once


def parse_key(header: str) -> str:
    """The key in the header: a quoted string, as the draft has it, or the bare word most clients send."""
    key = header.strip()
    if len(key) > MAX_KEY_LENGTH or not re.fullmatch(PATTERN, key):
        raise InvalidIdempotencyKey()
    return re.sub(r'\\(["\\])', r"\1", key[1:-1]) if key.startswith('"') else key


def _answer(view: Any, handler: Callable[..., Any], request: Request, *args: Any, **kwargs: Any) -> Any:
    """What the view answers, errors too: those it would turn into an answer anyway are kept like any other."""
    try:
        return handler(view, request, *args, **kwargs)
    except Exception as exc:  # noqa: BLE001  what has no answer is raised again by the view
        return view.handle_exception(exc)


class _Claim:
    """The right to do one request."""

    def __init__(self, request: Request, *, key: str) -> None:
        self.token = uuid4()
        self.identity = {"caller": caller_of(request), "route": request.path[:200], "key": key}
        self.fingerprint = fingerprint_of(request)

    def is_taken(self) -> bool:
        """Whether the work is ours to do. Raises IdempotencyKeyReused or IdempotencyKeyInUse."""
        now = timezone.now()
        parameters: dict[str, Any] = self.identity | {
            "fingerprint": self.fingerprint,
            "token": self.token,
            "expired": now - RETENTION,
            "abandoned": now - timedelta(seconds=CLAIM_TTL_S),
        }
        with connection.cursor() as cursor:
            cursor.execute(CLAIM, parameters)
            if cursor.fetchone():
                return True
        self.kept = IdempotentRequest.objects.filter(**self.identity).first()
        if self.kept is not None and self.kept.fingerprint != self.fingerprint:
            raise IdempotencyKeyReused()
        if self.kept is None or self.kept.status_code is None:
            raise IdempotencyKeyInUse()
        return False

    def replay(self) -> Response:
        assert self.kept is not None
        assert self.kept.status_code is not None
        headers = {"Idempotent-Replayed": "true"}
        if self.kept.location:
            headers["Location"] = self.kept.location
        return Response(json.loads(decrypt(self.kept.answer)), status=self.kept.status_code, headers=headers)

    def run_in_transaction(self, work: Callable[[], Response]) -> Response:
        response: Response | None = None
        try:
            with transaction.atomic():
                response = work()
                if response.status_code >= 500 or not self._keep(response):
                    raise _Undone
        except _Undone:
            assert response is not None
            if response.status_code < 500:
                raise IdempotencyKeyInUse() from None
            self._give_back()
        except BaseException:
            self._give_back()
            raise
        return response

    def run(self, work: Callable[[], Response]) -> Response:
        response = self.prepare(work)
        assert response is not None
        return response

    def prepare(self, work: Callable[[], Response | None]) -> Response | None:
        """Do the work and keep its answer; None is no answer, and there is more to do."""
        try:
            response = work()
        except BaseException:
            self._give_back()
            raise
        if response is not None and response.status_code < 500:
            self._keep(response)
        elif response is not None:
            self._give_back()
        return response

    def _ours(self) -> Any:
        return IdempotentRequest.objects.filter(**self.identity, token=self.token, status_code=None)

    def _keep(self, response: Response) -> bool:
        """Keep the answer for those who ask again; returns whether the claim was still ours."""
        answer = encrypt(JSONRenderer().render(response.data).decode() or "null")  # it may show a new secret
        location = response.headers.get("Location", "")
        return bool(self._ours().update(status_code=response.status_code, answer=answer, location=location))

    def _give_back(self) -> None:
        self._ours().delete()


def caller_of(request: Request) -> str:
    """Who asks, apart from everyone else: an API key, a user, or an address that did not log in."""
    if isinstance(key_id := getattr(request.auth, "pk", None), UUID | int):
        return f"key:{key_id}"
    if request.user.is_authenticated:
        return f"user:{request.user.pk}"
    return f"address:{request.META.get('REMOTE_ADDR', '')}"


def fingerprint_of(request: Request) -> str:
    """SHA-256 of what is asked. The same fields in another order, or with another boundary between, are the same."""
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


@periodic(every_s=5)
def purge() -> None:
    """Forget answers nobody may ask for any more."""
    IdempotentRequest.objects.filter(created_at__lt=timezone.now() - RETENTION).delete()

"""`ETag` and `If-Match`: a change of what somebody else has changed meanwhile is refused, RFC 9110, 13.1.1.

Put `EditableMixin` on a viewset and `@if_match` on its methods that change or delete one row. The header is optional:
without it the last change wins.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Collection
from typing import Any, ClassVar, overload

from django.conf import settings
from django.db import transaction
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.utils.serializer_helpers import ReturnDict

from whatsapp_agent.errors import AppError

DIGEST_BYTES = 16
MAX_HEADER_LENGTH = 1000


class ChangedMeanwhile(AppError):
    status, code = 412, "changed_meanwhile"
    detail = "Somebody else has changed this meanwhile. Read it again, then repeat the change with its new ETag."


def digest_of(value: str) -> str:
    """Return a digest that says whether a value is the same, and nothing else about it: it may be a key."""
    key = hashlib.sha256(b"digests of values\0" + settings.SECRET_KEY.encode()).digest()
    return hashlib.blake2b(value.encode(errors="replace"), key=key, digest_size=DIGEST_BYTES).hexdigest()


def etag_of(serializer: BaseSerializer, *, fields: Collection[str] | None = None) -> str | None:
    """Return the ETag of a row: it changes with these fields, by default those that can be written.

    A status or a counter does not change it. None if there is nothing to write.
    """
    shown = serializer.data
    values = {
        name: shown[name] if name in shown else getattr(serializer.instance, str(field.source))
        for name, field in serializer.fields.items()  # type: ignore[attr-defined]
        if (name in fields if fields is not None else not field.read_only)
    }
    return f'"{digest_of(json.dumps(values, sort_keys=True, default=str))}"' if values else None


class EditableMixin:
    """Adds the ETag to what GET and PATCH return of one row.

    A viewset whose serializer is read-only names in `editable_fields` what its PATCH changes; `lock_first` is called
    before the row is locked, where its service takes another lock first.
    """

    editable_fields: ClassVar[Collection[str] | None] = None

    def lock_first(self) -> None:
        """Lock what is to be locked before the row."""

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        if request.method in {"GET", "HEAD", "PATCH"} and (etag := self._etag(response)):
            response["ETag"] = etag
        return super().finalize_response(request, response, *args, **kwargs)  # type: ignore[misc]

    def _etag(self, response: Response) -> str | None:
        data = getattr(response, "data", None)
        return etag_of(data.serializer, fields=self.editable_fields) if isinstance(data, ReturnDict) else None

    def check_unchanged(self, request: Request, read: Callable[..., Response], **kwargs: Any) -> None:
        """Lock the row that `read` returns. Raises ChangedMeanwhile if `If-Match` does not name its ETag."""
        self.lock_first()
        row: Any = read(request, **kwargs).data.serializer.instance
        type(row)._base_manager.select_for_update(no_key=True).filter(pk=row.pk).first()
        given = {each.strip() for each in request.headers["If-Match"][:MAX_HEADER_LENGTH].split(",")}
        if not given & {"*", self._etag(read(request, **kwargs))}:
            raise ChangedMeanwhile()


Handler = Callable[..., Response]


@overload
def if_match(handler: Handler) -> Handler: ...
@overload
def if_match(*, read: str) -> Callable[[Handler], Handler]: ...
def if_match(handler: Handler | None = None, *, read: str = "retrieve") -> Any:
    """Run a method of a viewset with EditableMixin only if the row is as the caller has seen it.

    `read` names the method that answers GET for the same address.
    """
    if handler is None:
        return functools.partial(if_match, read=read)

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "If-Match",
                {"type": "string"},
                OpenApiParameter.HEADER,
                description="The `ETag` of the answer that you have seen: `412` if somebody has changed it since.",
            )
        ]
    )
    @functools.wraps(handler)
    def unless_changed(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        if "If-Match" not in request.headers:
            return handler(view, request, *args, **kwargs)
        with transaction.atomic():
            view.check_unchanged(request, getattr(view, read), **kwargs)
            return handler(view, request, *args, **kwargs)

    unless_changed.takes_if_match = True  # type: ignore[attr-defined]  # for the schema
    return unless_changed

"""Cursor pagination, newest first."""

import base64
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.models import Q
from rest_framework.exceptions import (
    ValidationError,
)
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from whatsapp_agent.postgres.values import values_of

MAX_CURSOR_LENGTH = 200


class NewestFirstPagination(BasePagination):
    """Keyset pagination: 50 rows a page, `?page_size=` up to 200, `?cursor=` from the links `next` and `previous`.

    A cursor names a row, not an offset: pages do not shift while rows come and go, and every page costs the same. A
    view orders by its `newest_by`: the id (UUIDv7, which grows with time), or a time and then the id.
    """

    page_size = 50
    max_page_size = 200

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        by = _order_of(view)
        return self._page(queryset, request, by, fetch=list, key_of=lambda row: [getattr(row, name) for name in by])

    def page_ids(self, queryset: Any, request: Request, view: Any) -> list[str]:
        """Return the ids of a page's rows as text, for `read_rows`."""
        by = _order_of(view)
        rows = self._page(queryset.values_list(*by), request, by, fetch=values_of, key_of=tuple)
        return [row[by.index("id")] for row in rows]

    def _page(
        self,
        queryset: Any,
        request: Request,
        by: tuple[str, ...],
        *,
        fetch: Callable[[Any], list[Any]],
        key_of: Callable[[Any], Sequence[Any]],
    ) -> list[Any]:
        """Return a page's rows and set the links. `key_of` returns a row's values of the columns `by`."""
        size = self._size(request)
        cursor = request.query_params.get("cursor")
        is_backward, position = (False, None) if cursor is None else _read_cursor(cursor, by)
        if position is not None:
            queryset = queryset.filter(_beyond(by, position, "gt" if is_backward else "lt"))
        rows = fetch(queryset.order_by(*(name if is_backward else f"-{name}" for name in by))[: size + 1])
        has_more, rows = len(rows) > size, rows[:size]
        if is_backward:
            rows.reverse()
        has_next = has_more if not is_backward else True
        has_previous = has_more if is_backward else position is not None
        query = request.query_params.copy()
        query.pop("cursor", None)
        self._here = request.build_absolute_uri(f"{request.path}?{query.urlencode()}{'&' if query else ''}")
        self._next = self._link("n", key_of(rows[-1])) if rows and has_next else None
        self._previous = self._link("p", key_of(rows[0])) if rows and has_previous else None
        return rows

    def _size(self, request: Request) -> int:
        given = request.query_params.get("page_size")
        if given is None:
            return self.page_size
        if not (given.isascii() and given.isdigit() and len(given) < 10 and 1 <= int(given) <= self.max_page_size):
            raise ValidationError({"page_size": [f"Must be an integer from 1 to {self.max_page_size}."]})
        return int(given)

    def _link(self, direction: str, key: Sequence[Any]) -> str:
        words = [direction, *map(_to_text, key)]
        cursor = base64.urlsafe_b64encode("|".join(words).encode()).decode().rstrip("=")
        return f"{self._here}cursor={cursor}"

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"next": self._next, "previous": self._previous, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {
                "next": link | {"description": "The next page, with older rows; null at the end."},
                "previous": link | {"description": "The previous page, with newer rows; null at the beginning."},
                "results": schema,
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:  # noqa: ARG002
        return [
            {
                "name": "cursor",
                "in": "query",
                "required": False,
                "description": "Where the page begins: the cursor in a link `next` or `previous`.",
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "maxLength": MAX_CURSOR_LENGTH},
            },
            {
                "name": "page_size",
                "in": "query",
                "required": False,
                "description": "Rows per page.",
                "schema": {"type": "integer", "minimum": 1, "maximum": self.max_page_size, "default": self.page_size},
            },
        ]


Key = datetime | UUID | int


def _order_of(view: Any) -> tuple[str, ...]:
    return getattr(view, "newest_by", ("id",))


def _to_text(key: Key | str) -> str:
    return key.astimezone(UTC).isoformat() if isinstance(key, datetime) else str(key)


def _from_text(name: str, text: str) -> Key:
    """Return the value of a column by its name: a time ends in `_at`. Raises ValueError or OverflowError."""
    if name.endswith("_at"):
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError("no time zone")
        return at.astimezone(UTC)
    if name == "id":
        return UUID(text)
    if not text.isdigit() or len(text) > 9:
        raise ValueError("not a small integer")
    return int(text)


def _beyond(by: tuple[str, ...], position: list[Key], side: str) -> Q:
    """Return the condition for rows past a position. The first of two columns is bounded alone too, for the index."""
    if len(by) == 1:
        return Q(**{f"{by[0]}__{side}": position[0]})
    bound = Q(**{f"{by[0]}__{side}e": position[0]})
    return bound & (Q(**{f"{by[0]}__{side}": position[0]}) | Q(**{f"{by[1]}__{side}": position[1]}))


def _read_cursor(cursor: str, by: tuple[str, ...]) -> tuple[bool, list[Key]]:
    try:
        if len(cursor) > MAX_CURSOR_LENGTH:
            raise ValueError("too long")
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        direction, *texts = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").split("|")
        if direction not in {"n", "p"}:
            raise ValueError("no direction")
        position = [_from_text(name, text) for name, text in zip(by, texts, strict=True)]
    except (ValueError, OverflowError) as exc:
        raise ValidationError({"cursor": ["Invalid cursor."]}) from exc
    return direction == "p", position

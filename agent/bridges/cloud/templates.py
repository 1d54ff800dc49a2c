"""Templates of a business account:
https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/overview
"""

import re

from agent.bridges.base import ListedTemplate
from agent.bridges.cloud.answers import check, unknown_format
from agent.bridges.exchange import Response
from agent.bridges.parsing import Fields, WrongShape

_PLACEHOLDER = re.compile(r"\{\{\s*(\w{1,60})\s*\}\}")


def parse_templates(response: Response) -> tuple[list[ListedTemplate], str]:
    """Return the templates of a page, and the cursor of the next one; empty if there is none."""
    check(response)
    try:
        answer = response.object()
        if not isinstance(answer.listed("data"), list) or "data" not in answer:
            raise WrongShape("data is missing")
        paging = answer.maybe_object("paging")
        cursors = paging.maybe_object("cursors") if paging and "next" in paging else None
        return [_template(each) for each in answer.objects("data")], (cursors.short("after") or "") if cursors else ""
    except WrongShape as exc:
        raise unknown_format() from exc


def _template(raw: Fields) -> ListedTemplate:
    body, unsupported = "", ""
    for part in raw.objects("components"):
        kind = (part.short("type") or "").upper()
        if kind == "BODY":
            body = part.text("text")
        elif kind == "HEADER" and (
            part.short("format") not in {None, "TEXT"} or _PLACEHOLDER.search(part.text("text"))
        ):
            unsupported = "its header has a file or a placeholder."
        elif kind == "BUTTONS" and any(_is_variable(button) for button in part.objects("buttons")):
            unsupported = "one of its buttons has a placeholder."
        elif kind in {"CAROUSEL", "LIMITED_TIME_OFFER", "ORDER_DETAILS"}:
            unsupported = "it has parts of a kind that is not known here."
    return ListedTemplate(
        name=raw.needed("name", longest=512),
        language=raw.needed("language", longest=20),
        status=raw.short("status", longest=30) or "",
        category=raw.short("category", longest=30) or "",
        body=body,
        placeholders=tuple(dict.fromkeys(_PLACEHOLDER.findall(body))),
        unsupported=unsupported,
    )


def _is_variable(button: Fields) -> bool:
    kinds_with_code = {"OTP", "COPY_CODE", "FLOW", "CATALOG", "MPM"}
    return bool(_PLACEHOLDER.search(button.text("url"))) or (button.short("type") or "") in kinds_with_code

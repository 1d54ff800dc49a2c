"""Templates of a business account:
https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/overview
"""

import re
from typing import Any

from agent.bridges.cloud.answers import check, unknown_format
from agent.bridges.exchange import Response
from agent.bridges.parsing import Fields, WrongShape
from agent.bridges.templates import ListedTemplate, Template

HEADERS = {"TEXT": "text", "IMAGE": "image", "VIDEO": "video", "DOCUMENT": "document"}
# The buttons that take a parameter, with the name that a send has for them.
BUTTONS = {"URL": "url", "OTP": "url", "COPY_CODE": "copy_code"}
FIXED_BUTTONS = frozenset({"QUICK_REPLY", "PHONE_NUMBER", "VOICE_CALL"})
# Parameters of these are not among what can be given here.
CATALOGUE = "one of its buttons opens a catalogue."
OTHER_BUTTONS = {
    "FLOW": "one of its buttons opens a form (a flow).",
    **dict.fromkeys(("CATALOG", "MPM", "SPM"), CATALOGUE),
}
UNKNOWN_PARTS = "it has parts of a kind that is not known here."
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
        after = (cursors.short("after") or "") if cursors else ""
    except WrongShape as exc:
        raise unknown_format() from exc
    listed = answer.objects("data")
    templates = [template for each in listed if (template := _readable(each))]
    if listed and not templates:
        raise unknown_format()
    return templates, after


def _readable(raw: Fields) -> ListedTemplate | None:
    """Return a template; None for one without a name or a language to send it by."""
    try:
        return _template(raw)
    except WrongShape:
        name, language = raw.short("name", longest=513), raw.short("language", longest=21)
        if name is None or language is None or len(name) > 512 or len(language) > 20:
            return None
        status, category = raw.short("status", longest=30) or "", raw.short("category", longest=30) or ""
        return ListedTemplate(name, language, status, category, "", (), unsupported=UNKNOWN_PARTS)


def _template(raw: Fields) -> ListedTemplate:
    body, unsupported, header, header_text = "", "", "", ""
    buttons: list[dict[str, Any]] = []
    for part in raw.objects("components"):
        kind = (part.short("type") or "").upper()
        if kind == "BODY":
            body = part.text("text")
        elif kind == "HEADER":
            header, header_text = HEADERS.get((part.short("format") or "TEXT").upper(), ""), part.text("text")
            if not header:
                unsupported = "its header is of a kind that is not known here."
        elif kind == "BUTTONS":
            for index, button in enumerate(part.objects("buttons")):
                type_ = (button.short("type") or "").upper()
                if _takes_parameter(button, type_):
                    buttons.append({"index": index, "type": BUTTONS[type_], "text": button.text("text")[:200]})
                elif type_ not in FIXED_BUTTONS | {"URL"}:
                    unsupported = OTHER_BUTTONS.get(type_, "one of its buttons is of a kind that is not known here.")
        elif kind == "CAROUSEL":
            unsupported = "it is a carousel."
        elif kind in {"LIMITED_TIME_OFFER", "ORDER_DETAILS"}:
            unsupported = UNKNOWN_PARTS
    return ListedTemplate(
        name=raw.needed("name", longest=512),
        language=raw.needed("language", longest=20),
        status=raw.short("status", longest=30) or "",
        category=raw.short("category", longest=30) or "",
        body=body,
        placeholders=tuple(dict.fromkeys(_PLACEHOLDER.findall(body))),
        header=header,
        header_text=header_text,
        header_placeholders=tuple(dict.fromkeys(_PLACEHOLDER.findall(header_text))) if header == "text" else (),
        buttons=tuple(buttons),
        unsupported=unsupported,
    )


def _takes_parameter(button: Fields, type_: str) -> bool:
    return type_ in BUTTONS and (type_ != "URL" or bool(_PLACEHOLDER.search(button.text("url"))))


def components(template: Template, *, media_id: str = "", filename: str = "") -> list[dict[str, Any]]:
    """Return what a send says of a template's parts; `media_id` is the uploaded file of its header."""
    parts: list[dict[str, Any]] = []
    if media_id:
        media = {"id": media_id} | ({"filename": filename} if template.header == "document" and filename else {})
        parts.append({"type": "header", "parameters": [{"type": template.header, template.header: media}]})
    elif template.header_parameters:
        texts = _texts(template.header_placeholders, template.header_parameters)
        parts.append({"type": "header", "parameters": texts})
    if template.parameters:
        parts.append({"type": "body", "parameters": _texts(template.placeholders, template.parameters)})
    for button in template.buttons:
        kind, name = ("coupon_code", "coupon_code") if button["type"] == "copy_code" else ("text", "text")
        parameter = {"type": kind, name: button["parameter"]}
        part = {"type": "button", "sub_type": button["type"], "index": str(button["index"]), "parameters": [parameter]}
        parts.append(part)
    return parts


def _texts(placeholders: list[str], parameters: list[str]) -> list[dict[str, str]]:
    names = placeholders or [""] * len(parameters)
    return [
        {"type": "text", "text": text} | ({"parameter_name": name} if name and not name.isdecimal() else {})
        for name, text in zip(names, parameters, strict=True)
    ]

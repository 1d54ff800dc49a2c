"""The commands in the OpenAPI schema: an operation for each, with the schema of its own arguments."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view

from commands.registry import ChatCommand, all_commands
from commands.views import CommandViewSet

Endpoint = tuple[str, str, str, Any]  # path, regular expression, method, view


def list_commands(endpoints: list[Endpoint], **_: Any) -> list[Endpoint]:
    """Preprocessing hook: replace the route `commands/{name}/` by one for each command."""
    views = [(command, _view_of(command)) for command in all_commands()]
    listed: list[Endpoint] = []
    for path, regex, method, view in endpoints:
        if getattr(view, "cls", None) is CommandViewSet and "{name}" in path:
            listed += [(path.format(name=command.name), regex, method, own) for command, own in views]
        else:
            listed.append((path, regex, method, view))
    return listed


def _view_of(command: ChatCommand) -> Any:
    word = command.name.replace("-", "_")
    body = {
        "type": "object",
        "required": ["conversation"],
        "additionalProperties": False,
        "properties": {
            "conversation": {"type": "string", "format": "uuid", "description": "Where it is run."},
            "arguments": command.schema(),
            "send": {"type": "boolean", "default": False, "description": "Also send the result to the contact."},
        },
    }
    described = extend_schema_view(
        retrieve=extend_schema(operation_id=f"commands_{word}_retrieve", description=command.description),
        create=extend_schema(
            operation_id=f"commands_{word}_run",
            description=command.description,
            request={"application/json": body},
        ),
    )
    view: Any = described(type(f"{word.title()}ViewSet", (CommandViewSet,), {}))
    return view.as_view({"get": "retrieve", "post": "create"}, detail=True)

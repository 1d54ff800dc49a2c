"""Serializers that refuse unknown fields and wrong types."""

from collections.abc import Mapping
from typing import Any

from django.http import QueryDict
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import (
    ValidationError,
)
from rest_framework.request import Request


# A serializer that takes what it names, in the type it names, and nothing else: a misspelled field that is dropped in
# silence looks like success, and so does a filter that says nothing and answers with everything. No docstring: it would
# be in the schema wherever a serializer has none of its own.
class StrictSerializer(serializers.Serializer):
    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping) and (errors := self._refuse(data)):
            raise ValidationError(errors)
        return super().to_internal_value(data)

    def _refuse(self, data: Mapping[str, Any]) -> dict[str, Any]:
        errors: dict[str, Any] = {}
        is_json = not isinstance(data, QueryDict)  # a form knows only texts
        for name, value in data.items():
            field = self.fields.get(name)
            if field is None:
                errors[str(name)] = ["There is no such field."]
            elif field.read_only:
                errors[name] = ["This field cannot be set."]
            elif is_json and (wrong := _wrong_type(field, value)):
                errors[name] = wrong
            elif isinstance(field, serializers.CharField) and field.max_length and len(value or "") > field.max_length:
                errors[name] = [f"Ensure this field has no more than {field.max_length} characters."]  # spaces count
            elif isinstance(data, QueryDict) and len(data.getlist(name)) > 1:
                errors[name] = ["Give it once."]
            elif not is_json and value == "" and not getattr(field, "allow_blank", False):
                errors[name] = ["This must not be empty. Leave it out instead."]
        return errors


class PartialUpdateSerializer(serializers.ModelSerializer):  # no docstring, as above
    # A change writes what it names and nothing else: meanwhile a bridge may have told of the rest.
    def update(self, instance: Any, validated_data: dict[str, Any]) -> Any:
        for name, value in validated_data.items():
            setattr(instance, name, value)
        instance.save(update_fields=list(validated_data))
        return instance


def valid(form: type[serializers.Serializer], request: Request, **kwargs: Any) -> dict[str, Any]:
    """What a request brings, as the serializer has it. Raises ValidationError."""
    serializer = form(data=request.data, context={"request": request}, **kwargs)
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data


def refuse_fields(request: Request) -> None:
    """For a call that is asked without a body: what somebody sends along is refused by name. Raises ValidationError."""
    valid(StrictSerializer, request)


TEXTUAL = (
    serializers.CharField,
    serializers.UUIDField,
    serializers.DateTimeField,
    serializers.ChoiceField,
    serializers.RelatedField,
)


def _wrong_type(field: serializers.Field, value: Any) -> Any:
    """What to say of a value whose JSON type is not the field's, in a list by position; None when it is right."""
    if isinstance(field, serializers.ListField) and isinstance(value, list):
        return {str(at): errors for at, item in enumerate(value) if (errors := _wrong_type(field.child, item))} or None
    wanted = None if value is None else _wanted_type(field, value)
    return [f"This must be {wanted}."] if wanted else None


def _wanted_type(field: serializers.Field, value: Any) -> str | None:
    """What the value should have been; None when its JSON type is right."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_whole = is_number and (isinstance(value, int) or value.is_integer())
    if isinstance(field, serializers.MultipleChoiceField):
        return None
    if isinstance(field, TEXTUAL) and not isinstance(value, str):
        return "a text"
    if isinstance(field, serializers.BooleanField) and not isinstance(value, bool):
        return "true or false"
    if isinstance(field, serializers.IntegerField) and not is_whole:
        return "a whole number"
    if isinstance(field, serializers.FloatField) and not is_number:
        return "a number"
    return None


MAX_URL_LENGTH = 2000


@extend_schema_field(
    {
        "type": "string",
        "format": "uri",
        "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[!-~]+$",
        "maxLength": MAX_URL_LENGTH,
    }
)
class Address(serializers.CharField):
    """An http or https address; whether it may be asked is for `outbound.check_url` to say."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_URL_LENGTH, trim_whitespace=False, **kwargs)

"""Serializers that refuse unknown fields and wrong types."""

from collections.abc import Mapping
from typing import Any

from django.db import models
from django.http import QueryDict
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import (
    ValidationError,
)
from rest_framework.request import Request

from whatsapp_agent.text.single_line import single_line_error


# No docstrings: drf-spectacular would show them.
class SingleLineField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if error := single_line_error(text):
            raise ValidationError(error)
        return text


# Other time zones are up to a day away, and the calendar of Python ends with the year 9999.
FIRST_YEAR, LAST_YEAR = 2, 9998


class TimeField(serializers.DateTimeField):
    # RFC 3339 allows the lower-case letters too; Python does not read the z.
    def to_internal_value(self, value: Any) -> Any:
        at = super().to_internal_value(value.upper() if isinstance(value, str) else value)
        if not FIRST_YEAR <= at.year <= LAST_YEAR:
            self.fail("overflow")
        return at


# Refuses unknown fields, read-only fields and wrong JSON types: a misspelled field that is dropped silently looks like
# success. No docstring: drf-spectacular would inherit it as the description of every serializer without one.
class StrictSerializer(serializers.Serializer):
    serializer_field_mapping = serializers.ModelSerializer.serializer_field_mapping | {
        models.CharField: SingleLineField,
        models.DateTimeField: TimeField,
    }

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping) and (errors := self._refuse(data)):
            raise ValidationError(errors)
        return super().to_internal_value(data)

    def _refuse(self, data: Mapping[str, Any]) -> dict[str, Any]:
        errors: dict[str, Any] = {}
        is_json = not isinstance(data, QueryDict)  # values in a form are always strings
        for name, value in data.items():
            field = self.fields.get(name)
            if field is None:
                errors[str(name)] = ["Unknown field."]
            elif field.read_only:
                errors[name] = ["This field is read-only."]
            elif is_json and (wrong := _wrong_type(field, value)):
                errors[name] = wrong
            elif isinstance(field, serializers.CharField) and field.max_length and len(value or "") > field.max_length:
                errors[name] = [field.error_messages["max_length"].format(max_length=field.max_length)]
            elif isinstance(data, QueryDict) and len(data.getlist(name)) > 1:
                errors[name] = ["Duplicate field."]
            elif not is_json and value == "" and not getattr(field, "allow_blank", False):
                errors[name] = ["This field may not be empty. Omit it instead."]
        return errors


class PartialUpdateSerializer(serializers.ModelSerializer):  # no docstring, as above
    # Writes only the columns in the request: a webhook request may change the others meanwhile.
    def update(self, instance: Any, validated_data: dict[str, Any]) -> Any:
        for name, value in validated_data.items():
            setattr(instance, name, value)
        instance.save(update_fields=list(validated_data))
        return instance


def valid(form: type[serializers.Serializer], request: Request, **kwargs: Any) -> dict[str, Any]:
    """Return the validated body of a request. Raises ValidationError."""
    serializer = form(data=request.data, context={"request": request}, **kwargs)
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data


def refuse_fields(request: Request) -> None:
    """Refuse any body, for a call that takes none. Raises ValidationError that names the fields."""
    valid(StrictSerializer, request)


TEXTUAL = (
    serializers.CharField,
    serializers.UUIDField,
    serializers.DateTimeField,
    serializers.ChoiceField,
    serializers.RelatedField,
)


def _wrong_type(field: serializers.Field, value: Any) -> Any:
    """Return the errors of a value whose JSON type is not the field's, in a list by index; None if it is right."""
    if isinstance(field, serializers.ListField) and isinstance(value, list):
        return {str(at): errors for at, item in enumerate(value) if (errors := _wrong_type(field.child, item))} or None
    expected = None if value is None else _expected_type(field, value)
    return [f"Must be {expected}."] if expected else None


def _expected_type(field: serializers.Field, value: Any) -> str | None:
    """Return the JSON type that the field takes, in words; None if the value has it."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_whole = is_number and (isinstance(value, int) or value.is_integer())
    if isinstance(field, serializers.MultipleChoiceField):
        return None
    if isinstance(field, TEXTUAL) and not isinstance(value, str):
        return "a string"
    if isinstance(field, serializers.BooleanField) and not isinstance(value, bool):
        return "true or false"
    if isinstance(field, serializers.IntegerField) and not is_whole:
        return "an integer"
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
class HttpUrlField(serializers.CharField):
    """An http or https URL. `outbound.check_url` decides whether requests may go there."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_URL_LENGTH, trim_whitespace=False, **kwargs)

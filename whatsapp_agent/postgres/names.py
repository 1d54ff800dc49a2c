"""The operation of a migration that only names models and fields for people."""

from collections.abc import Mapping
from typing import Any

from django.db.migrations.operations.base import Operation

MODEL = ""  # the key of a model's own names: (singular, plural)


class SetVerboseNames(Operation):
    """Set verbose names in the state of the models; no table knows them.

    `names` is `{model: {field: name}}`, with the model's own names, singular and plural, under "". As one `AlterField`
    for each of 300 fields, Django would render the related models 300 times, which takes 20 s in each new database.
    """

    reduces_to_sql = False

    def __init__(self, names: Mapping[str, Mapping[str, Any]]) -> None:
        self.names = names

    def state_forwards(self, app_label: str, state: Any) -> None:
        for model, names in self.names.items():
            model_state = state.models[app_label, model]
            for name, text in names.items():
                if name == MODEL:
                    singular, plural = text
                    model_state.options |= {"verbose_name": singular, "verbose_name_plural": plural}
                    continue
                field = model_state.fields[name].clone()
                field.verbose_name = field._verbose_name = text
                model_state.fields[name] = field
        state.reload_models([(app_label, model) for model in self.names], delay=True)

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Do nothing: PostgreSQL has no such names."""

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Do nothing: PostgreSQL has no such names."""

    def describe(self) -> str:
        return f"Set verbose names of {', '.join(self.names)}"

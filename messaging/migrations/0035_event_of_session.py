"""An index for the history of a number's link. It is built while messages are stored."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("messaging", "0034_note_shown_to_model")]

    operations = [
        AddIndexConcurrently(
            "event",
            models.Index(
                fields=["session_id", "-at"], condition=Q(type="session.status_changed"), name="event_of_session_status"
            ),
        ),
    ]

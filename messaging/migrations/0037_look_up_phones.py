from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("messaging", "0036_external_controller")]

    operations = [
        migrations.AddField(
            model_name="contact",
            name="phone_looked_up_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="contact",
            index=models.Index(
                condition=models.Q(("is_group", False), ("phone", ""), ("phone_looked_up_at__isnull", True)),
                fields=["id"],
                name="contact_to_look_up",
            ),
        ),
    ]

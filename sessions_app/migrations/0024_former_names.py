import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('sessions_app', '0023_words_of_numbers'),
    ]

    operations = [
        migrations.CreateModel(
            name='FormerName',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('bridge', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='former_names', to='sessions_app.bridge')),
                ('session', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='former_names', to='sessions_app.whatsappsession')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('bridge', 'name'), name='former_name_once_per_bridge')],
            },
        ),
    ]

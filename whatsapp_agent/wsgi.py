"""The WSGI application that the web server runs."""

import os

from django.core.wsgi import get_wsgi_application

from whatsapp_agent.http.request_body import with_content_length

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whatsapp_agent.settings")

application = with_content_length(get_wsgi_application())

# The product as one image: manage.py up, which migrates, serves and runs the engine. It wants a PostgreSQL: compose.yaml.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN useradd --system --create-home --home-dir /srv/agent --uid 10001 agent
WORKDIR /srv/agent/app

COPY requirements.txt .
RUN pip install -r requirements.txt && python -m compileall -q /usr/local/lib/python3.11/site-packages
COPY . .
RUN python -m compileall -q . && mkdir /srv/agent/data && chown agent:agent /srv/agent/data

USER agent
# From outside the container it is reached by every address it has; put a proxy that ends TLS before it.
ENV HOST=0.0.0.0 PORT=8000 DATA_DIR=/srv/agent/data LOG_FORMAT=json
VOLUME /srv/agent/data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health/', timeout=4)"]

# SIGTERM ends it in order within this server's own 20 seconds: give it 30 (docker stop -t 30; compose does).
STOPSIGNAL SIGTERM
CMD ["python", "manage.py", "up", "--no-self-check"]

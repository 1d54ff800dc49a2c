# The product as one image: `up` (web, and the engine without REDIS_URL) or `worker`. compose.yaml says how they go together.
FROM python:3.11-slim AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/agent
COPY requirements.txt requirements-monitoring.txt /tmp/
RUN /opt/agent/bin/pip install --no-compile -r /tmp/requirements.txt -r /tmp/requirements-monitoring.txt && /opt/agent/bin/python -m compileall -q /opt/agent/lib


FROM python:3.11-slim

RUN useradd --system --create-home --home-dir /srv/agent --uid 10001 agent && mkdir -m 0700 /srv/agent/data && mkdir /srv/agent/static && chown agent:agent /srv/agent/data /srv/agent/static
COPY --from=build /opt/agent /opt/agent
WORKDIR /srv/agent/app
COPY . .
# From outside the container it is reached by every address it has; put a proxy that ends TLS before it.
ENV PATH=/opt/agent/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 PORT=8000 DATA_DIR=/srv/agent/data STATIC_ROOT=/srv/agent/static LOG_FORMAT=json
RUN python -m compileall -q . && chmod 0755 manage.py

USER agent
RUN python manage.py prepare_static_files
VOLUME /srv/agent/data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health/', timeout=4)"]

# SIGTERM ends it in order within 20 seconds: give it 30 (docker stop -t 30; compose.yaml does).
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "manage.py"]
CMD ["up", "--no-self-check"]

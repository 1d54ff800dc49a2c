# Everything here works on a fresh clone: what a target needs is installed into .venv first.
# Another Python: make run PYTHON=python3.12. Settings: make run PORT=8123 DATA_DIR=/srv/agent. Tests: make test ARGS="-k pool".

PYTHON ?= $(shell python3.11 -c "" 2>/dev/null && echo python3.11 || echo python3)
IN_VENV := .venv/bin/python
PIP_FLAGS := --quiet --disable-pip-version-check --no-input
ARGS ?=

# What `check --deploy` looks at is a production's configuration; nothing connects to it.
PRODUCTION := DATABASE_URL=postgres://agent@db.example.com/agent HTTPS=true DEBUG=false ALLOWED_HOSTS=agent.example.com \
	SECRET_KEY=no-secret-and-only-here-so-that-the-deploy-check-has-one-1 \
	ADMIN_TOKEN_SECRET=no-secret-and-only-here-so-that-the-deploy-check-has-one-2 \
	WHATSAPP_WEBHOOK_SECRET=no-secret-and-only-here ADMIN_PASSWORD=no-secret-and-only-here

REDOCLY := npx --yes @redocly/cli@1.25.0
BIOME := npx --yes @biomejs/biome@2.6.8

.PHONY: run test check docs fuzz bench bench-api drill image screenshots clean

run: .venv/.ready-to-run  ## Start everything and stay: the database, the web server and the engine. Ctrl-C stops it.
	@$(IN_VENV) manage.py up

# A module at a time, in the order of tests/conftest.py: xdist's default gives each worker a twelfth of all tests at first,
# which leaves one with all the slow modules, and its chunks start what a module shares more than once.
test: .venv/.ready-to-test
	@$(IN_VENV) -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

check: .venv/.ready-to-test
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .
	$(IN_VENV) -m mypy accounts sessions_app messaging commands agent whatsapp_agent
	$(IN_VENV) -c "from importlinter.cli import lint_imports_command; lint_imports_command(args=[\"--no-logo\"])"
	$(IN_VENV) manage.py makemigrations --check --dry-run
	@$(IN_VENV) manage.py spectacular --validate --fail-on-warn | diff docs/openapi.yaml - || { echo "The API changed: run make docs."; exit 1; }
	@if $(REDOCLY) --version >/dev/null 2>&1; then \
		$(REDOCLY) lint --extends=recommended --skip-rule=no-path-trailing-slash docs/openapi.yaml; \
	else echo "WARNING: Redocly is not available (npx): its rules for docs/openapi.yaml are not checked."; fi
	@if $(BIOME) --version >/dev/null 2>&1; then $(BIOME) ci --error-on-warnings accounts/static agent/static; \
	else echo "WARNING: Biome is not available (npx): their scripts are not linted."; fi
	@$(PRODUCTION) $(IN_VENV) manage.py check --deploy --fail-level WARNING

docs: .venv/.ready-to-test  ## What is printed from the code: the API's schema, the table of permissions, the event types.
	@$(IN_VENV) manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml
	@$(IN_VENV) manage.py permission_matrix | $(IN_VENV) -c "import pathlib, sys; doc = pathlib.Path('docs/permissions.md'); \
		doc.write_text(doc.read_text().split('| route |')[0] + sys.stdin.read())"
	@$(IN_VENV) manage.py event_types | $(IN_VENV) -c "import pathlib, sys; doc = pathlib.Path('docs/events.md'); \
		doc.write_text(doc.read_text().split('### ')[0] + sys.stdin.read())"
	@$(IN_VENV) manage.py bridge_matrix | $(IN_VENV) -c "import pathlib, sys; \
		doc = pathlib.Path('docs/bridges/README.md'); \
		doc.write_text(doc.read_text().split('| it can |')[0] + sys.stdin.read())"

fuzz: .venv/.ready-to-test  ## Ask a running server everything its schema allows, and what it does not.
	@$(IN_VENV) -m tests.fuzzing $(ARGS)

bench: .venv/.ready-to-run  ## Answers, parsing of webhooks, lists of the API, then files; with ARGS of the answers alone. The product's own packages are enough.
	@$(IN_VENV) -m benchmarks $(ARGS)$(if $(ARGS),,; missed=$$?; $(IN_VENV) -m benchmarks.parsing && $(IN_VENV) -m benchmarks.api && $(IN_VENV) -m benchmarks.media && exit $$missed)

bench-api: .venv/.ready-to-run  ## Lists of the API over a million messages, beside the same in plain SQL.
	@$(IN_VENV) -m benchmarks.api $(ARGS)

drill: .venv/.ready-to-test  ## With REDIS=1: with Celery workers and a redis-server of its own.
	@$(IN_VENV) -m benchmarks.drill $(if $(REDIS),--redis) $(ARGS)

image: .venv/.ready-to-test  ## Build the container image with buildah, and try it as compose.yaml runs it.
	@$(IN_VENV) -m tests.image $(ARGS)

screenshots: .venv/.ready-to-test  ## Pictures of the inbox, light, dark and on a phone; needs Chromium.
	@$(IN_VENV) -m tests.screenshots $(ARGS)

# The data stays: delete .data by hand if it should go.
clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage
	find . -name __pycache__ -not -path "./.data/*" -prune -exec rm -rf {} +

.venv/.made:
	@$(PYTHON) -c "import sys; sys.exit(None if sys.version_info >= (3, 11) else \
		'Python 3.11 or newer is needed and $(PYTHON) is ' + sys.version.split()[0] + '. Say which: make PYTHON=python3.11')"
	@$(PYTHON) -c "import venv" || { echo "Install what Python's venv needs (Debian, Ubuntu: apt install python3-venv)."; exit 1; }
	@echo "Making the virtual environment in .venv ..."
	@if $(PYTHON) -c "import ensurepip" 2>/dev/null; then $(PYTHON) -m venv --clear .venv; \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python .venv/bin/python install $(PIP_FLAGS) pip; \
	else echo "Neither ensurepip nor pip is there. Install one (Debian, Ubuntu: apt install python3-venv)."; exit 1; fi
	@touch $@

.venv/.ready-to-run: .venv/.made requirements.txt
	@echo "Installing what the product needs (requirements.txt) ..."
	@$(IN_VENV) -m pip install $(PIP_FLAGS) -r requirements.txt
	@touch $@

.venv/.ready-to-test: .venv/.ready-to-run requirements-dev.txt requirements-monitoring.txt
	@echo "Installing what tests and checks need (requirements-dev.txt) ..."
	@$(IN_VENV) -m pip install $(PIP_FLAGS) -r requirements-dev.txt
	@touch $@

# Two commands are enough: `make reproduce` and `make test`. Both make .venv from the lock file when it is missing.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
ENVIRONMENT := .venv/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: reproduce test browser js sweep paper book html pdf serve lock audit wheel clean help lab

help:
	@echo "make reproduce  train the laptop preset live and build the book of that run under build/; PRESET, VARIANT, SEED, CORPUS"
	@echo "make test       run every test; installs Chromium first where the system lets it"
	@echo "make js         check types and style of the JavaScript; needs Node.js, which nothing else does"
	@echo "make sweep      train and record the runs that the verdicts are computed from; resumes, skips what exists"
	@echo "make paper      train and record the 88M model, SEED=0; resumes"
	@echo "make book       rebuild the published book from the recorded run in data/, no training"
	@echo "make html       render the book as it is committed, into _build/html"
	@echo "make pdf        the book as it is committed as one PDF, into build/book.pdf; needs Chromium"
	@echo "make serve      open the book that was built last in a browser; PORT=8000, or the next free one"
	@echo "make lab        open copies of the notebooks in JupyterLab"
	@echo "make lock       pin the newest versions that pyproject.toml allows"
	@echo "make audit      look for known vulnerabilities in what is pinned, and for slips in the workflows"
	@echo "make wheel      build the package to install elsewhere, into build/dist"
	@echo "make clean      remove build/ and _build/"

# everything has to have the checksum that the lock names, but for torch: which of its builds fits is for the machine to say.
# Nothing else is fetched to build this package, since setuptools is in the lock
$(ENVIRONMENT): requirements.lock requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info[:2] == (3, 11) else "the lock file is for Python 3.11, this is " + sys.version.split()[0] + ": set PYTHON=python3.11")'
	@echo "[environment] .venv: some minutes; 2.5 GB of disk with torch for CPUs, several times that for GPUs; all of it downloaded"
	$(PYTHON) -m venv .venv
	@echo "[environment] 1/3 every package of the lock but torch, 1.7 GB unpacked"
	$(PIP) --no-deps --require-hashes -r requirements.lock
	@echo "[environment] 2/3 torch, 0.8 GB unpacked for CPUs, several times that for GPUs"
	$(PIP) --constraint requirements.txt torch
	@echo "[environment] 3/3 this package"
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# hours on two cores for the paper preset, minutes on a GPU; goes on where it was interrupted
PRESET ?= laptop
VARIANT ?= baseline
SEED ?= 0
CORPUS ?= docstrings
reproduce: $(ENVIRONMENT)
	@$(BIN)/python -m civilwar.cli reproduce --preset '$(PRESET)' --variant '$(VARIANT)' --seed '$(SEED)' --corpus '$(CORPUS)'

# Chromium and its driver for tests/book/test_browser.py, from Debian's packages where the system lets us. Never fails: the tests
# themselves are skipped without a browser, or fail where one is required.
INSTALL_BROWSER := apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium chromium-driver
browser: $(ENVIRONMENT)
	@$(BIN)/python tests/browser.py >/dev/null 2>&1 || { command -v apt-get >/dev/null && { \
	  [ "$$(id -u)" = 0 ] || become="sudo -n"; \
	  $$become env DEBIAN_FRONTEND=noninteractive sh -c '$(INSTALL_BROWSER)' </dev/null >/dev/null 2>&1; }; \
	  $(BIN)/python tests/browser.py || true; }

# ruff takes no time and goes first; mypy is one of the tests (tests/test_types.py), so that it runs beside them
test: browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n auto --dist loadgroup

# for whoever changes the inspector's JavaScript: the book is built without Node.js
node_modules/.package-lock.json: package.json package-lock.json
	npm ci

js: node_modules/.package-lock.json
	npm run check

sweep: $(ENVIRONMENT)
	$(BIN)/python -m civilwar.cli sweep --publish

# hours on two cores, minutes on a GPU; goes on where it was interrupted. A control is recorded as the sweep's are, since no
# inspector opens it
paper: $(ENVIRONMENT)
	$(BIN)/python -m civilwar.cli train --preset paper --variant $(VARIANT) --seed $(SEED)
	$(BIN)/python -m civilwar.cli record paper-$(VARIANT)-seed$(SEED) --publish --form $(if $(filter baseline,$(VARIANT)),light,slim)

book: $(ENVIRONMENT)
	$(BIN)/python -m civilwar.cli book

# from scratch, since jupyter-book does not notice changed static files; in place of the old pages once all are there
html: $(ENVIRONMENT)
	$(BIN)/python -c 'from pathlib import Path; from civilwar.pages.publish import build_book; print(build_book(Path("book").resolve()))'

pdf: $(ENVIRONMENT)
	$(BIN)/python -c 'from pathlib import Path; from civilwar.pages.pdf import make_pdf; print(make_pdf(Path("book"), Path("build/book.pdf")))'

PORT ?= 8000
serve: $(ENVIRONMENT)
	@$(BIN)/python -m civilwar.cli serve --port '$(PORT)'

# Lab saves what it executes into the file that is open: copies, so that the clone stays clean
lab: $(ENVIRONMENT)
	@$(BIN)/python -m civilwar.cli lab

# requirements.lock: every package with the checksums of its files, but for torch, whose builds for CPU and CUDA differ and
# need different libraries. requirements.txt: the same versions, torch among them, without checksums, for conda and to read
lock: $(ENVIRONMENT)
	$(BIN)/pip-compile --quiet --upgrade --upgrade-package torch==2.13.0 --generate-hashes --extra dev --strip-extras \
	  --unsafe-package civilwar --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements.lock \
	  pyproject.toml
	{ echo "# The versions of requirements.lock, and torch's: made by make lock"; \
	  grep -oE '^[A-Za-z0-9_.-]+==[^ +]+' requirements.lock; } > requirements.txt
	awk '/^# WARNING/ {exit} /^[^ #]/ {torch = /^torch==/} !torch' requirements.lock > requirements.lock.new
	mv requirements.lock.new requirements.lock

# known vulnerabilities in what the lock pins, and what the workflows must not do. Asks the network
audit: $(ENVIRONMENT)
	$(BIN)/pip-audit --no-deps --disable-pip --requirement requirements.txt
	$(BIN)/zizmor --offline --pedantic .github

# with what is installed and nothing else, so that the lock says what a wheel was made with
wheel: $(ENVIRONMENT)
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir build/dist .

clean:
	rm -rf build _build

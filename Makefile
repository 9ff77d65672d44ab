# The book's commands. Each sets up .venv by itself and says what it is doing. `make` alone lists them.

PYTHON ?= python3
PORT ?= 8000
TORCH ?= both
# Two threads: what the budgets and recorded times refer to, and what keeps results alike from machine to machine.
OMP_NUM_THREADS ?= 2
# Threads that wait for each other sleep. Where they spin, a busy machine makes a small training ten times as long.
OMP_WAIT_POLICY ?= passive
export OMP_NUM_THREADS OMP_WAIT_POLICY PYTHON

VENV := .venv
READY := $(VENV)/.ready
RUN := $(VENV)/bin/python
# The site needs no torch. Where the whole environment is there it builds with that, else with a small one of its own.
BOOK_VENV := $(if $(wildcard $(READY)),$(VENV),.venv-book)
SITE := _build/html

.DEFAULT_GOAL := help
.PHONY: help book serve pdf epub test offline notebooks results bench gpu colab publish clean

help:
	@echo "make book                build the site; prints the path of the page to open"
	@echo "make serve [PORT=8000]   build it and serve it on 127.0.0.1"
	@echo "make pdf                 the book on paper, in _build/print; needs LaTeX, and says what to install"
	@echo "make epub                the book for a reading device, in _build/print; make book then offers both"
	@echo "make test                check the code, run all tests, re-run every chapter"
	@echo "make offline             run the chapters that can use a downloadable set without any data and network"
	@echo "make notebooks [CHAPTER=05]  run the chapters in place and store what they print"
	@echo "make results [NAME=... [ROW=... SEEDS=1] [DEVICE=cuda] [SMOKE=1]]  list the scripts behind the recorded results,"
	@echo "                         run one, repeat one row of its table, or see within seconds whether it runs"
	@echo "make bench               time loading and training beside what is promised, models and recipes beside their peers"
	@echo "make gpu [STEPS=\"speed cifar10\"] [DATA=folder] [SMOKE=1]  run what gains most from a GPU, in nine minutes;"
	@echo "                         without one, say what would run, or see within seconds whether it does"
	@echo "make colab [CHAPTER=05] [TORCH=oldest|newest]  run the chapters as Colab does: one file, an empty folder"
	@echo "make publish REPO=https://github.com/OWNER/NAME  set the repository's address everywhere"
	@echo "make clean               remove what was built; .venv stays"

# The environment is made again only when the pins or the package's own settings change.
$(READY): requirements.txt pyproject.toml book/tools/setup_venv.sh
	@sh book/tools/setup_venv.sh $(VENV)
	@touch $@

.venv-book/.ready: book/requirements.txt book/tools/setup_venv.sh
	@sh book/tools/setup_venv.sh .venv-book book/requirements.txt
	@touch $@

# A failed build forgets what it has read: Sphinx repeats the warnings of a page only when it reads the page again.
book: $(BOOK_VENV)/.ready
	@echo "Building the book (warnings are errors)"
	@mkdir -p _build
	@$(BOOK_VENV)/bin/jupyter-book build . -W -n --keep-going -q >_build/log.txt 2>&1 || { cat _build/log.txt >&2; \
		rm -rf _build/.doctrees; echo "The book was not built; the warnings above say why." >&2; exit 1; }
	@test -f $(SITE)/index.html || { echo "jupyter-book made no index.html; delete $(BOOK_VENV), run it again" >&2; exit 1; }
	@cp -R book/_static/. $(SITE)/_static/  # Sphinx copies a changed style only when it also writes a page
	@echo "Done. Open $(CURDIR)/$(SITE)/index.html"

serve: book
	@$(BOOK_VENV)/bin/python -m http.server --directory $(SITE) --bind 127.0.0.1 $(PORT)

# The same sources with settings of their own (book/tools/print). What was read for one serves the other.
pdf epub: $(BOOK_VENV)/.ready
	@echo "Making the $@ (warnings are errors)"
	@$(BOOK_VENV)/bin/python -m book.tools.print $@

test: $(READY)
	@command -v git >/dev/null 2>&1 || { echo "git is missing; install it: apt install git" >&2; exit 1; }
	@echo "Checking the code's form"
	@$(VENV)/bin/ruff check .
	@echo "Running the tests and every chapter"
	@echo "Data sets: $${VITEDU_DATA:-~/.cache/vitedu, for VITEDU_DATA is not set}; what needs others is skipped and listed"
	@$(RUN) -m pytest -p tests.notebook_budget --nbval --nbval-current-env --nbval-cell-timeout=600 tests vitedu chapters

offline: $(READY)
	@echo "Running the chapters that can use a downloadable set, without any data and without the network"
	@$(RUN) -m book.tools.offline

notebooks: $(READY)
	@echo "Running the chapters in place"
	@$(RUN) -m book.tools.run_notebooks $(CHAPTER)

results: $(READY)
	@$(RUN) book/tools/results.py $(NAME) $(if $(ROW),--row "$(ROW)") $(if $(SEEDS),--seeds $(SEEDS)) \
		$(if $(SMOKE),--smoke) $(if $(DEVICE),--device $(DEVICE))

bench: $(READY)
	@echo "Loading and training the reference sets on $(OMP_NUM_THREADS) threads"
	@$(RUN) -m book.tools.bench.promises; kept=$$?; for part in models throughput equal_time; do \
		echo && $(RUN) -m book.tools.bench.$$part || exit; done; exit $$kept

# A GPU is lent for minutes, on a machine without a network: a Python that has torch will do, and no .venv is made.
gpu:
	@run=$(RUN); [ -x $$run ] || { $(PYTHON) -c "import torch" 2>/dev/null && run=$(PYTHON); } || $(MAKE) $(READY) || exit; \
	PYTHONPATH=. $(if $(DATA),VITEDU_DATA="$(DATA)") $$run book/experiments/gpu.py $(STEPS) \
		$(if $(SMOKE),--smoke --device cpu) $(if $(SEEDS),--seeds $(SEEDS))

colab: $(READY)
	@echo "Running each chapter alone, on a machine with Colab's packages and without vitedu"
	@$(RUN) -m book.tools.colab.run --torch $(TORCH) $(CHAPTER)

# pyproject.toml names the repository. Whatever repeats that name follows, and so do the addresses of the pages that
# GitHub serves for it (book/tools/site/address.py); the setup cells install the tag of
# this version; longer names and other owners' stay.
publish:
	@old=$$(sed -n 's,^Repository = "https://github.com/\(.*\)",\1,p' pyproject.toml); \
	new=$$(echo "$(REPO)" | sed -nE 's,(\.git|/)$$,,; s,^https://github\.com/([A-Za-z0-9-]+/[A-Za-z0-9._-]+)$$,\1,p'); \
	[ -n "$$new" ] || { echo "Name it: make publish REPO=https://github.com/OWNER/NAME (now $$old)" >&2; exit 2; }; \
	tag=v$$(sed -n 's,^version = "\(.*\)",\1,p' pyproject.toml); \
	git grep -lIF --no-index --exclude-standard "$$old" | \
		OLD=$$old NEW=$$new TAG=$$tag xargs perl -pi -e 's,github(\.com)?/\K\Q$$ENV{OLD}\E(?!-?\w|\.(?!git\b)\w),$$ENV{NEW},g;' \
		-e 'BEGIN { sub site { my ($$o, $$n) = split m{/}, shift; my $$h = lc "$$o.github.io"; lc $$n eq $$h ? "$$h/" : "$$h/$$n/" } }' \
		-e 's,https://\Q@{[site($$ENV{OLD})]}\E,"https://" . site($$ENV{NEW}),ge;' \
		-e 's,git\+https://github\.com/\Q$$ENV{NEW}\E\K\@v[\w.]+,\@$$ENV{TAG},g'; \
	echo "The address is https://github.com/$$new, and chapters install $$tag"

clean:
	@echo "Removing the built site and the caches"
	@rm -rf _build build .pytest_cache .ruff_cache *.egg-info
	@find book chapters tests vitedu \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

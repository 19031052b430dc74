# Every job of a developer, one target each. Paths stay relative, so that a checkout path may hold spaces.

PYTHON ?= python3
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ "$$n" -gt 4 ] && n=4; echo "$$n")

VENV := .venv/bin/python
XDIST := -n $(JOBS) --dist loadfile
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.cache
export ANSIBLE_INJECT_FACT_VARS := false

.DEFAULT_GOAL := help
.PHONY: help venv demo test hosting molecule lint sanity bench build build/mde-mirror docs changelog clean

help: ## This list
	@printf 'make TARGET, where TARGET is one of:\n\n'
	@sed -n 's/^\([a-z][a-z/-]*\):[^#]*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name what; do \
		printf '  %-18s %s\n' "$$name" "$$what"; \
	done
	@printf '\nmake PYTHON=/path/to/python3.X TARGET picks the Python that the virtual environment is made with.\n'

venv: ## The virtual environment in .venv (every target that needs it makes it by itself)
	@'$(PYTHON)' tools/bootstrap.py
	@$(VENV) tools/collection_tree.py

demo: venv ## The whole way on this machine: a mirror, three endpoints, one of them broken; no root, no internet
	@$(VENV) simulators/demo.py

test: venv ## Unit and integration tests; no root, no containers (TESTS='path ...' runs only those)
	@# In the order that is named: with the many quick files last, no worker ends long before the others.
	$(VENV) -m pytest $(XDIST) --no-loadscope-reorder $(or $(TESTS),tests/integration tests/unit --ignore tests/integration/hosting)

hosting: venv ## The tests of the hosting roles, on a real nginx where there is one; they take some minutes
	$(VENV) -m pytest $(XDIST) tests/integration/hosting

molecule: venv ## The molecule scenarios on podman; as root it installs what it needs (SCENARIOS='name ...' runs only those)
	@$(VENV) tools/molecule_rig.py $(SCENARIOS)

lint: venv ## ruff, mypy, shellcheck, yamllint, antsibull-changelog, wording, ansible-lint (LINTERS='mypy ...' runs only those)
	@$(VENV) tools/lint.py $(LINTERS)

sanity: venv ## ansible-test sanity, without containers
	@$(VENV) tools/sanity.py

bench: venv ## Side by side: syncs with curl, nginx with bare loopback, the role endpoint with plain tasks (BENCHES='sync ...')
	@for bench in $(or $(BENCHES),sync serving endpoints); do \
		printf '\n== %s\n\n' "$$bench"; $(VENV) "tests/benchmark/$$bench.py" || exit 1; \
	done

build: venv ## The collection's tarball, in build/
	@rm -f build/mde-offline-*.tar.gz
	@$(VENV) -m ansible.cli.galaxy collection build --force --output-path build .

build/mde-mirror: ## The mirror's command as one executable file; needs nothing but Python
	@'$(PYTHON)' tools/build_mde_mirror.py build/mde-mirror

docs: venv ## Writes the generated pages again
	@for page in tools/render_*.py; do echo "$$page"; $(VENV) "$$page" || exit 1; done

changelog: venv ## CHANGELOG.rst out of changelogs/fragments, for the version in galaxy.yml (a release is made with it)
	$(VENV) -m antsibull_changelog release

clean: ## Removes what the other targets made, the virtual environment included
	rm -rf .venv .cache build .demo .ansible collections tests/output .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# The targets for developers. All paths are relative, so that the path of the checkout may contain spaces.

PYTHON ?= python3
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ "$$n" -gt 4 ] && n=4; echo "$$n")

VENV := .venv/bin/python
XDIST := -n $(JOBS) --dist loadfile
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.cache
export ANSIBLE_INJECT_FACT_VARS := false

.DEFAULT_GOAL := help
.PHONY: help venv demo test hosting molecule lint sanity bench build build/mde-mirror docs changelog clean

help: ## Print this list
	@printf 'make TARGET, where TARGET is one of:\n\n'
	@sed -n 's/^\([a-z][a-z/-]*\):[^#]*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name what; do \
		printf '  %-18s %s\n' "$$name" "$$what"; \
	done
	@printf '\nmake PYTHON=/path/to/python3.X TARGET selects the Python for the virtual environment.\n'

venv: ## Create the virtual environment .venv (targets that need it do this themselves)
	@'$(PYTHON)' tools/bootstrap.py
	@$(VENV) tools/collection_tree.py

demo: venv ## Run a complete example on this machine: a mirror and three endpoints, one of them broken; no root, no internet
	@$(VENV) simulators/demo.py

test: venv ## Run the unit and integration tests; no root, no containers (TESTS='path ...' runs only those)
	@# The slow integration tests first and the many fast files last, so that all workers end at about the same time.
	$(VENV) -m pytest $(XDIST) --no-loadscope-reorder $(or $(TESTS),tests/integration tests/unit --ignore tests/integration/roles/hosting)

hosting: venv ## Run the tests of the hosting roles with a real nginx, if it is installed; takes some minutes
	$(VENV) -m pytest $(XDIST) tests/integration/roles/hosting

molecule: venv ## Run the molecule scenarios on podman; as root, install what they need (SCENARIOS='name ...' runs only those)
	@$(VENV) tools/molecule_rig.py $(SCENARIOS)

lint: venv ## Run ruff, mypy, shellcheck, yamllint, antsibull-changelog, wording, ansible-lint (LINTERS='mypy ...' runs only those)
	@$(VENV) tools/lint.py $(LINTERS)

sanity: venv ## Run ansible-test sanity without containers
	@$(VENV) tools/sanity.py

bench: venv ## Compare a start with bare imports, syncs with curl, nginx with plain loopback, the role endpoint with plain tasks (BENCHES='sync ...')
	@for bench in $(or $(BENCHES),start sync serving endpoints); do \
		printf '\n== %s\n\n' "$$bench"; $(VENV) "tests/benchmark/$$bench.py" || exit 1; \
	done

build: venv ## Build the tarball of the collection in build/
	@rm -f build/mde-offline-*.tar.gz
	@$(VENV) -m ansible.cli.galaxy collection build --force --output-path build .

build/mde-mirror: ## Pack the command mde-mirror as one executable file; needs only Python
	@'$(PYTHON)' tools/build_mde_mirror.py build/mde-mirror

docs: venv ## Write the generated pages again
	@for page in tools/render_*.py; do echo "$$page"; $(VENV) "$$page" || exit 1; done

changelog: venv ## Release the version in galaxy.yml: write CHANGELOG.rst from changelogs/fragments
	$(VENV) -m antsibull_changelog release

clean: ## Remove everything that the other targets created, including the virtual environment
	rm -rf .venv .cache build .demo .ansible collections tests/output .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

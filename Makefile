# DsecOS from nothing: `make up` on a bare Debian 12 or 13, as root. `make` alone lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

UV_VERSION := 0.13.9
UV := .uv/bin/uv
RUN := .venv/bin
PACKAGES := crds/dsecos_api runtime/dsecos_runtime operator/dsecos_operator node-agent/dsecos_agent \
            console/dsecos_cli hack/control-plane/dsecos_control_plane image-build/dsecos_images \
            tests/proxmox-simulator/dsecos_proxmox_simulator

# Debian's Python alone: services run under users that cannot read one in an administrator's home.
export UV_PYTHON := /usr/bin/python3
export UV_PYTHON_DOWNLOADS := never
unexport VIRTUAL_ENV

.PHONY: help up down status test test-all lint generate bench schedules clean footprint

help: ## List these targets
	@echo "DsecOS: bare servers to a hardened private cloud that is driven like Kubernetes"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
		while IFS='|' read -r name text; do printf '  \033[1mmake %-10s\033[0m %s\n' "$$name" "$$text"; done

up: .venv/ready ## Install what is missing, start everything, deploy the sample (UP="--without-sample" passes options)
	@$(RUN)/dsecos-control-plane up $(UP)

down: .venv/ready ## Stop everything and leave the machine as it was; data is kept
	@$(RUN)/dsecos-control-plane down

status: .venv/ready ## Show processes, ports and guests
	@$(RUN)/dsecos-control-plane status

clean: .venv/ready ## down, and remove all data (the build cache stays)
	@$(RUN)/dsecos-control-plane clean

footprint: .venv/ready ## Print what DsecOS could leave on this machine, to compare before and after
	@$(RUN)/dsecos-control-plane footprint

generate: .venv/ready ## Write the CRDs and the reference pages from the models
	@$(RUN)/python -m dsecos_api.generate
	@$(RUN)/python -m dsecos_cli.advice >docs/reasons.md

lint: .venv/ready ## Check format, style, types, imports between parts, and that the CRDs are generated
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy --strict $(PACKAGES)
	$(RUN)/lint-imports
	$(RUN)/python -m dsecos_api.generate --check

test: lint ## lint, then all tests on the real things (root)
	@$(RUN)/dsecos-control-plane build --for-tests
	$(RUN)/python -m pytest -n 2 $(PYTEST)

test-all: ## test, with all random schedules and all of the many Stacks
	@DSECOS_TEST_ALL=1 $(MAKE) test

bench: .venv/ready ## Measure against the raw tools that do the same
	@$(RUN)/dsecos-control-plane build --for-tests
	$(RUN)/python -m pytest -s tests/bench $(PYTEST)

schedules: .venv/ready ## Play random operations, kills and faults on an engine (ENGINE=lxc|proxmox SEED=0 COUNT=200)
	$(RUN)/python -m node-agent.tests.engines.schedules --engine $(or $(ENGINE),lxc) --seed $(or $(SEED),0) --count $(or $(COUNT),200)

.venv/ready: uv.lock pyproject.toml $(wildcard */pyproject.toml hack/*/pyproject.toml tests/*/pyproject.toml) | $(UV)
	@$(UV) sync --frozen --quiet
	@touch $@

$(UV):
	@/usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Installing python3-venv"; apt-get -qq update && apt-get -qq install -y --no-install-recommends python3-venv >/dev/null; }
	@/usr/bin/python3 -m venv .uv
	@.uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

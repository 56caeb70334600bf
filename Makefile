# `make help` lists the targets. Every target installs what it needs; those that start the lab need root.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One build folder for all clones of this user, so that a clean clone finds a warm build.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/certctl
export CARGO_TARGET_DIR ?= $(CACHE)/target

# Cargo profile of the binary in the image: `make image PROFILE=dev` is quicker to build, `release` is smaller.
PROFILE ?= release
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
IMAGE ?= certctl.dev/agent:$(VERSION)
IMAGE_FILE ?= $(CARGO_TARGET_DIR)/certctl-image.tar
BINARY = $(CARGO_TARGET_DIR)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/certctl

# What the build needs (the CRI's protocol is compiled at build time), what the lab's nodes are made of, and what tests use as a referee.
PACKAGES := build-essential protobuf-compiler containerd runc systemd dbus nftables containernetworking-plugins busybox-static haproxy iproute2 \
	conntrack ethtool socat kmod procps openssl strace jq libfaketime

LAB := cargo run --quiet --locked -p certctl-lab --bin lab --

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: packages ## start a real cluster, rotate its CA under load, show what happened, take the cluster down
	tests/lab/demo.sh

.PHONY: demo-repair
demo-repair: packages ## let every certificate of a cluster expire, power it off and on, bring it back with one command
	tests/lab/demo-repair.sh

.PHONY: test
test: packages ## every test: unit, adapter, command line, and the scenarios on the lab
	.ci/test all

.PHONY: test-unit
test-unit: packages ## the tests that need no cluster
	.ci/test unit

.PHONY: test-lab
test-lab: packages ## the scenarios on the lab
	.ci/test lab

.PHONY: torture
torture: packages ## every scenario; kill and power-cut everything before and in every phase (two hours); prints a table
	$(LAB) test --all
	$(LAB) torture --sweep

.PHONY: bench
bench: PACKAGES += gnutls-bin python3-pip unzip
bench: packages ## compare with peers on this machine, run in turns; prints ratios
	benches/compare.sh

.PHONY: image
image: packages ## pack the agent's image from the binary (IMAGE, IMAGE_FILE, PROFILE)
	cargo build --locked --profile $(PROFILE) --bin certctl
	$(LAB) pack-image $(BINARY) $(IMAGE) $(IMAGE_FILE)

.PHONY: completions
completions: packages ## make completions, man pages, schemas and the reference anew
	rm -rf completions docs/man docs/schemas
	cargo run --quiet --locked --bin certctl -- generate .

.PHONY: ci
ci: ## exactly what CI runs
	.ci/run

.PHONY: clean-lab
clean-lab: packages ## remove the lab and every trace of it, also after a crash
	$(LAB) down

# apt-get update only when something is missing.
.PHONY: packages
packages:
	@missing=(); \
	for package in $(PACKAGES); do dpkg -s $$package >/dev/null 2>&1 || missing+=($$package); done; \
	if [ $${#missing[@]} -gt 0 ]; then \
		echo "installing $${missing[*]}" >&2; \
		apt-get update -q >&2; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$${missing[@]}" >&2; \
	fi

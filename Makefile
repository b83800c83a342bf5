# Building, testing and trying leasehold. `make` alone tells what there is.
#
# What is built lives in a cache directory that outlives a clone. There is one profile, release, because RocksDB is
# compiled once for each profile, and takes a quarter of an hour on two cores.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Recipes run cargo and go, which use all cores by themselves.
.NOTPARALLEL:

# CI may run without.
export HOME := $(or $(HOME),$(shell getent passwd "$$(id -u)" | cut -d: -f6))
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/leasehold
export CARGO_TARGET_DIR ?= $(CACHE)/target
export LEASEHOLD_TOOLS ?= $(CACHE)/tools
# A Go is here only where scripts/deps.sh found the installed one too old.
export LEASEHOLD_GO ?= $(CACHE)/go
export GOTOOLCHAIN ?= auto
export PATH := $(LEASEHOLD_GO)/bin:$(PATH):$(HOME)/.cargo/bin:/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system

.PHONY: help
help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: ## See it work, in a minute after the build. On Debian 12, as root; CONTAINERD=1.6 for Debian's containerd
	scripts/deps.sh demo
	$(MAKE) build tools
	demo/demo.sh

.PHONY: build
build: ## Build the daemon: $CARGO_TARGET_DIR/release/leasehold. The first build compiles RocksDB
	cargo build --release --locked

.PHONY: test
test: ## Install what is needed, check, build, and run every test. As root
	scripts/deps.sh test
	$(MAKE) tools check build
	CGO_ENABLED=0 GOFLAGS="-mod=readonly -trimpath -buildvcs=false" GOWORK=off go -C tests/go test ./cmd/... ./internal/...
	LEASEHOLD_REQUIRE_ALL=1 cargo test --release --locked --features failpoints --no-fail-fast

.PHONY: check
check: ## Formatting, lints, documentation, scripts and licences
	scripts/check.sh

.PHONY: bench
bench: ## Measure the hot paths, beside containerd's own snapshotter and content store. As root
	scripts/deps.sh test
	$(MAKE) build tools
	scripts/bench.sh
	scripts/bench-content.sh
	scripts/bench-pull.sh

# For each target.
FUZZ_SECONDS ?= 600

.PHONY: fuzz
fuzz: tools ## Let malformed layers loose on the extraction: three targets, ten minutes each. As root
	fuzz/run.sh $(FUZZ_SECONDS)

.PHONY: tools
tools: ## Build the Go programs that the tests and the demo use: a containerd, nerdctl, test images
	tests/go/build.sh "$(LEASEHOLD_TOOLS)"

.PHONY: deps
deps: ## Install what all of this needs, with apt. As root
	scripts/deps.sh test

.PHONY: install
install: build ## Install the daemon, its units and its configuration. PREFIX, SYSCONFDIR, UNITDIR and DESTDIR say where
	install -D -m 755 "$(CARGO_TARGET_DIR)/release/leasehold" "$(DESTDIR)$(PREFIX)/bin/leasehold"
	install -d "$(DESTDIR)$(UNITDIR)" "$(DESTDIR)$(SYSCONFDIR)/leasehold"
	for unit in plugin-config/*.service plugin-config/*.socket; do \
		sed 's,/usr/bin/leasehold,$(PREFIX)/bin/leasehold,g; s,/etc/leasehold,$(SYSCONFDIR)/leasehold,g' "$$unit" >"$(DESTDIR)$(UNITDIR)/$${unit##*/}"; \
	done
# What an administrator wrote is kept.
	[[ -e "$(DESTDIR)$(SYSCONFDIR)/leasehold/config.toml" ]] || \
		install -m 644 plugin-config/config.toml "$(DESTDIR)$(SYSCONFDIR)/leasehold/config.toml"

.PHONY: clean
clean: ## Delete what was built, except for the dependencies
	cargo clean --release --package leasehold

.PHONY: distclean
distclean: ## Delete all that was built, RocksDB and the Go programs too
	cargo clean
	rm -rf "$(LEASEHOLD_TOOLS)" "$(LEASEHOLD_GO)"

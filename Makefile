# What people and machines run. `make help` lists the targets.

SHELL := /bin/bash
PREFIX ?= /usr/local
DESTDIR ?=
TARGET := x86_64-unknown-linux-gnu
RELEASE := target/$(TARGET)/release
PROGRAMS := rrun guest

.PHONY: help build run test test-lint test-host test-vm bench conformance licences install completion clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## release binaries in bin/
	@integration/deps.sh build
	cargo build --release --quiet $(addprefix -p ,$(PROGRAMS))
	@mkdir -p bin
	@for program in $(PROGRAMS); do install -m 755 $(RELEASE)/$$program bin/$$program; done

run: build ## a container that prints what it sees from inside
	@integration/deps.sh run
	@integration/guest-bundle.sh target/bundle
	bin/rrun run target/bundle/

test: build ## everything: format, lints, unit and black-box tests here and in the virtual machine, leak check
	@integration/deps.sh test
	@integration/test.sh lint host vm

test-lint: ## format and lints alone
	@integration/test.sh lint

test-host: build ## unit and black-box tests on this machine; TESTS=name filters
	@integration/deps.sh test
	@integration/test.sh host

test-vm: build ## the same in the virtual machine; TESTS=name filters
	@integration/deps.sh test
	@integration/test.sh vm

bench: build ## rows 1 to 6 of the budgets; ROW=3 runs one
	@integration/deps.sh bench
	@integration/bench/run.sh $(ROW)

conformance: build ## podman and containerd against bin/rrun
	@integration/deps.sh conformance
	@integration/conformance.sh

licences: ## every dependency has a licence of the list in deny.toml
	@integration/licences.sh

install: build completion ## binaries and completion below PREFIX (and DESTDIR)
	install -D -m 755 bin/rrun $(DESTDIR)$(PREFIX)/sbin/rrun
	install -D -m 644 target/completion/rrun.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/rrun
	install -D -m 644 target/completion/rrun.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_rrun
	install -D -m 644 target/completion/rrun.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/rrun.fish

completion: build ## completion scripts in target/completion
	@mkdir -p target/completion
	@for shell in bash zsh fish; do bin/rrun completion $$shell > target/completion/rrun.$$shell; done

clean: ## what was built; the kernels of the virtual machine stay
	rm -rf bin target

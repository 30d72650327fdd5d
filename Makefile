# hashpkg. `make help` lists the targets.

GO       ?= go
FUZZTIME ?= 10s
# Development tools are pinned in tools/go.mod, and built from source once.
TOOL      = $(GO) tool -modfile=tools/go.mod
VERSION  := $(shell git describe --tags --always --abbrev=12 --dirty 2>/dev/null)

.PHONY: help build check test test-faults test-elf test-system programs race lint vuln fuzz bench demo docs site screens launcher deb rpm repo clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS='	' read -r name what; do printf '%-11s %s\n' "$$name" "$$what"; done

build: ## build bin/hashpkg and bin/patchelf
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-X github.com/hashpkg/hashpkg/cmd/internal/cli.Version=$(VERSION)' -o bin/ ./cmd/hashpkg ./cmd/patchelf

check: ## run the tests that need only Go: no root, no network, no other programs (a minute or two)
	ALLOW_SKIPS=1 EVENTS=.cache/check.json scripts/test.sh -short

test: ## install what the tests need (when root), run them all and count them; none may be skipped
	scripts/test-deps.sh
	scripts/test.sh

test-faults: ## of these, those that kill commands at each step, let calls fail, disturb and cut the power
	scripts/test-deps.sh
	HASHPKG_TEST_CUTS=120 PACKAGES=./e2e EVENTS=.cache/faults.json scripts/test.sh -count=1 -run 'Killed|Fails|Fault|FullDisk|PowerCut|Bombs|SmallDisk|SyncBeside|Disturbed'

test-elf: ## edit every ELF file of this machine and of foreign packages, with all judges (minutes)
	scripts/test-deps.sh
	scripts/test-elf.sh

test-system: ## install, upgrade and boot whole systems, with dpkg and rpm (minutes; gigabytes in the cache)
	scripts/test-deps.sh system
	scripts/test-system.sh

programs: ## ask programs of other releases (HASHPKG_TEST_PROGRAMS: which) to do something, and write docs/programs.md (an hour; gigabytes in the cache)
	scripts/test-deps.sh system
	HASHPKG_TEST_PROGRAMS_OUT=$(CURDIR)/.cache/programs $(GO) test -tags system -count=1 -timeout 240m -parallel 4 -run '^TestSystemPrograms$$' -v ./e2e
	cp .cache/programs/programs.md docs/programs.md

race: ## run the tests under the race detector
	scripts/test-deps.sh
	scripts/test.sh -race

lint: ## check format, habits, import arrows and go.mod
	$(TOOL) golangci-lint run
	$(GO) mod tidy -diff
	scripts/security-tests.sh

vuln: ## look for known vulnerabilities in what is called
	$(TOOL) govulncheck ./...

fuzz: ## run each fuzz target for FUZZTIME (10s)
	scripts/fuzz.sh $(FUZZTIME)

bench: build ## compare with dpkg, and print a table
	$(GO) run ./internal/bench

demo: build ## put two Debian releases' jq side by side into ./demo-root
	scripts/demo.sh

docs: ## write the manual pages of commands and the command reference from the help texts
	$(GO) run ./cmd/internal/gendocs

site: ## make the documentation site in bin/site (needs mandoc)
	$(GO) run ./cmd/internal/gensite bin/site

screens: ## type what e2e/personas says at terminals, and write its screens and docs/screens.md anew (root)
	scripts/test-deps.sh
	$(GO) test -count=1 -run '^TestPersonas$$' ./e2e -update

launcher: ## build launcher/*.bin anew, with the compilers of Debian 12
	scripts/launcher.sh launcher

deb: ## build bin/hashpkg_VERSION_ARCH.deb, and hashpkg-follow, which follows dpkg
	scripts/package.sh deb

rpm: ## build bin/hashpkg-VERSION-1.ARCH.rpm, and hashpkg-follow, which follows rpm
	scripts/package.sh rpm

repo: ## build both, and signed repositories of them in bin/repo, for apt and dnf (KEY: the key that signs; URL: where they will be)
	scripts/repo.sh

clean: ## remove what the other targets made in this directory
	rm -rf bin .cache demo-root

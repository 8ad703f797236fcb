# Every target also runs in CI by the same name. As root on Debian 12 with Go: "make demo" shows the main job, "make test"
# runs every test. Both install what they need.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
export PATH := $(PATH):/usr/local/go/bin
export GOFLAGS := -mod=mod

PREFIX ?= /usr/local
DESTDIR ?=
VERSION := 0.1.0-dev
COMMIT := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
AGENT_LDFLAGS := $(LDFLAGS) -linkmode external -extldflags "-static"
AGENT_TAGS := seccomp,netgo,osusergo,runc_nocriu,grpcnotrace
TESTFLAGS ?=
FUZZTIME ?= 5s

.PHONY: all build agent guest kernel small-guest images install uninstall demo test unit privileged vm e2e bench lint generate check-generated fuzz \
	golden clean needs needs-build needs-engines

all: build guest

build: needs-build
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o build/runvm .

agent: needs-build
	CGO_ENABLED=1 go build -trimpath -tags $(AGENT_TAGS) -ldflags '$(AGENT_LDFLAGS)' -o build/runvm-agent ./agent/cmd/runvm-agent

# The guest image: kernel of a distribution package (not installed on the host) and an initramfs with the agent.
guest: agent
	guest/fetch-kernel.sh build/kernel
	go run ./guest/cmd/mkguest -kernel-deb "$$(ls -t build/kernel/*.deb | head -n 1)" -agent build/runvm-agent -o build/guest
	rm -rf build/guest/small
	test ! -e build/kernel/small || $(MAKE) small-guest

# The small guest kernel, built from the distribution's source: minutes, and 2 GB of disk. Afterwards "make guest" makes a
# second image with it, which runvm prefers.
kernel:
	scripts/install-needs.sh kernel
	guest/kernel/build.sh build/kernel
	$(MAKE) guest

small-guest:
	go run ./guest/cmd/mkguest -kernel-root build/kernel/small -agent build/runvm-agent -o build/guest/small

# Container images and root file systems for the demo and the tests, from distribution packages.
images: needs
	scripts/build-images.sh build/images

needs-build:
	scripts/install-needs.sh build

needs:
	scripts/install-needs.sh all

needs-engines:
	scripts/install-needs.sh engines

install: all
	install -D -m 0755 build/runvm $(DESTDIR)$(PREFIX)/bin/runvm
	install -D -m 0644 build/guest/vmlinux $(DESTDIR)$(PREFIX)/share/runvm/vmlinux
	install -D -m 0644 build/guest/initramfs.cpio $(DESTDIR)$(PREFIX)/share/runvm/initramfs.cpio
	install -D -m 0644 build/guest/manifest.json $(DESTDIR)$(PREFIX)/share/runvm/manifest.json
	rm -rf $(DESTDIR)$(PREFIX)/share/runvm/small
	test ! -e build/guest/small || install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/runvm/small build/guest/small/*
	install -D -m 0644 man/runvm.8 $(DESTDIR)$(PREFIX)/share/man/man8/runvm.8
	install -D -m 0644 dist/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/runvm
	test -e $(DESTDIR)/etc/runvm/config.toml || install -D -m 0644 dist/config.toml $(DESTDIR)/etc/runvm/config.toml
	install -d $(DESTDIR)/etc/containers/containers.conf.d
	sed 's|@PREFIX@|$(PREFIX)|g' dist/containers.conf > $(DESTDIR)/etc/containers/containers.conf.d/50-runvm.conf
	chmod 0644 $(DESTDIR)/etc/containers/containers.conf.d/50-runvm.conf
	install -d $(DESTDIR)$(PREFIX)/share/doc/runvm
	for f in docker-daemon.json containerd.toml; do \
		sed 's|@PREFIX@|$(PREFIX)|g' dist/$$f > $(DESTDIR)$(PREFIX)/share/doc/runvm/$$f; \
		chmod 0644 $(DESTDIR)$(PREFIX)/share/doc/runvm/$$f; \
	done

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/runvm $(DESTDIR)$(PREFIX)/share/man/man8/runvm.8
	rm -f $(DESTDIR)$(PREFIX)/share/bash-completion/completions/runvm
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/share/runvm/,vmlinux initramfs.cpio manifest.json)
	rm -rf $(DESTDIR)$(PREFIX)/share/runvm/small
	rm -f $(DESTDIR)/etc/containers/containers.conf.d/50-runvm.conf
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/share/doc/runvm/,docker-daemon.json containerd.toml)
	-rmdir $(DESTDIR)$(PREFIX)/share/runvm $(DESTDIR)$(PREFIX)/share/doc/runvm

demo: needs all images
	scripts/demo.sh

# Everything that CI runs.
test: needs-engines all images lint check-generated
	RUNVM_TEST_GUEST=$(CURDIR)/build/guest go tool gotestsum --format testname -- \
		-race -tags privileged,vm,e2e -p 1 -timeout 40m $(TESTFLAGS) ./...

# No root, no VM.
unit: needs-build
	go test -race -shuffle=on $(TESTFLAGS) ./...

# Root, no VM (but real QEMU processes without a guest).
privileged: needs
	go test -race -tags privileged $(TESTFLAGS) ./...

# The agent alone in a real VM.
vm: needs all
	RUNVM_TEST_GUEST=$(CURDIR)/build/guest go test -tags vm -count 1 $(TESTFLAGS) ./agent

# Real VMs, through the command line and podman. TESTFLAGS="-run NAME" picks.
e2e: needs-engines all images
	go tool gotestsum --format testname -- -tags e2e -timeout 40m -count 1 $(TESTFLAGS) ./tests/...

bench: needs all images
	go run ./tests/bench

lint: needs-build
	scripts/lint.sh

generate: needs-build
	go generate ./agentproto

check-generated: needs-build
	scripts/check-generated.sh

golden:
	go test ./vmm/... ./guest/... -update
	git diff --stat

fuzz:
	scripts/fuzz.sh $(FUZZTIME)

clean:
	rm -rf build

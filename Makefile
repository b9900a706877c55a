# The two commands: make demo, make test.
.PHONY: demo demo-down test soak bench gitops lint deny crds docs install image e2e

# A control plane, a BigQuery server, the operator and examples/ on this machine; make demo-down stops them.
demo:
	dev/demo up

demo-down:
	dev/demo down

# Every test, against a real API server and a real BigQuery server of its own.
test:
	dev/browser
	dev/launch tools
	cargo test --no-run
	dev/launch run .cache/run/test -- cargo test --quiet

# What the dependencies may be, by deny.toml. Advisories are fetched: without a network, DENY="bans licenses sources".
deny: DENY ?= advisories bans licenses sources
deny:
	@command -v cargo-deny > /dev/null || { echo "make deny needs cargo-deny: cargo install cargo-deny --locked" >&2; exit 1; }
	cargo deny --locked check $(DENY)

# The fault suite for an hour (OKR_SOAK_SECONDS) with a seed of its own (OKR_FAULT_SEED), on a control plane of its own.
soak: export OKR_SOAK_SECONDS ?= 3600
soak: export OKR_FAULT_SEED ?= $(shell date +%s)
soak:
	cargo test --test faults -- --nocapture storm

# The table of docs/benchmarks.md, against servers of its own. Builds in release: the operator, and what measures it.
bench:
	cargo bench --bench bench --no-run
	dev/launch run .cache/run/bench -- cargo bench --quiet --bench bench

# What Flux's and Argo CD's own programs say of our objects. They take long to build: not a part of make test.
gitops:
	dev/launch tools kustomize-controller kstatus argolua schemas
	cargo test --test gitops --no-run
	dev/launch run .cache/run/gitops -- cargo test --quiet --test gitops

lint:
	cargo fmt --check
	cargo clippy --all-targets -- --deny warnings
	# Not among them, as plain cargo test leaves it out.
	cargo clippy --test gitops --test e2e -- --deny warnings

# Generates crds/, and the chart's copy of it, from the Rust types; a test holds them to be current.
crds:
	cargo run --quiet -- crd crds
	cargo run --quiet -- crd charts/okr-operator/files/crds

# The blocks of help in docs/kubectl-okr.md, docs/reference.md, and Argo CD's patch from the scripts in gitops/argocd.
docs:
	OKR_WRITE_DOCS=1 cargo test --quiet --test plugin -- docs
	OKR_WRITE_DOCS=1 cargo test --quiet --test reference
	OKR_WRITE_DOCS=1 cargo test --quiet --test architecture -- argo_cds_patch

# What follows from the chart: its README's table of values, gitops/install and the snapshots of tests/chart.
install: export PATH := $(or $(OKR_DEV_CACHE),$(CURDIR)/.cache/tools):$(PATH)
install:
	dev/launch tools helm
	OKR_WRITE_DOCS=1 cargo test --quiet --test chart -- written rendered::every

# The operator's image, as an OCI archive in target/image, with the list of what is in it; ARCH="amd64 arm64" for others.
image:
	dev/image $(addprefix --arch=,$(ARCH))

# The chart and the image on a real cluster: that of KUBECONFIG, or a node of this machine.
e2e:
	dev/e2e

# The two commands: make demo, make test.
.PHONY: demo demo-down test soak bench gitops lint crds docs

# A control plane, a BigQuery server, the operator and examples/ on this machine; make demo-down stops them.
demo:
	dev/demo up

demo-down:
	dev/demo down

# Every test, against a real API server and a real BigQuery server of its own.
test:
	dev/browser
	cargo test --no-run
	dev/launch run .cache/run/test -- cargo test --quiet

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
	dev/gitops

lint:
	cargo fmt --check
	cargo clippy --all-targets -- --deny warnings
	# Not among them, as plain cargo test leaves it out.
	cargo clippy --test gitops -- --deny warnings

# Generates crds/ from the Rust types; a test holds them to be current.
crds:
	cargo run --quiet -- crd crds

# The blocks of help in docs/kubectl-okr.md, and Argo CD's patch from the scripts in gitops/argocd.
docs:
	OKR_WRITE_DOCS=1 cargo test --quiet --test plugin -- docs
	OKR_WRITE_DOCS=1 cargo test --quiet --test architecture -- argo_cds_patch

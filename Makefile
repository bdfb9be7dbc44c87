# The two commands of the README, and the comparisons.
.PHONY: demo test bench build

build:
	cargo build --release --locked --package trinic

# Builds and runs the main job; no package to install, no root needed.
demo: build
	./target/release/trinic demo

# Installs what the tests need (as root), makes the guests' images under target/, then runs all tests.
test:
	./scripts/setup-tests
	./scripts/setup-clients
	./scripts/setup-guests
	cargo xtask test

# Comparisons with peers, side by side in one run; tables and target/bench/*.json.
bench: build
	./scripts/setup-tests
	./scripts/bench

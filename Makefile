# Fireworks: what there is to do. Every target calls cargo, the binary or a test; none holds logic.
.DEFAULT_GOAL := help
CARGO ?= cargo
# What to pass on to the binary or to the tests: make demo ARGS="--devices 50"
ARGS ?=
# Which parts to measure: make bench PARTS="processor restore"
PARTS ?=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## build and run the whole pipeline in one process: http://localhost:8080
	$(CARGO) run --release --locked -- demo $(ARGS)

.PHONY: spark-demo
spark-demo: ## run the pipeline with Spark as the source (needs Java 17, Maven, Python): http://localhost:8080
	$(CARGO) build --release --locked
	kind/spark/demo $(ARGS)

.PHONY: test
test: ## run every test that needs no Docker, on the embedded broker
	$(CARGO) test --locked $(ARGS)

# The suites that need a Kafka: each runs on the embedded broker in `make test`, and on any other here.
SUITES := adversarial brownian chaos crashes dashboard_load dashboard_topic demo dlq generate group metrics protocol reader state
.PHONY: test-kafka
test-kafka: ## run the suites that need a Kafka on the one at FIREWORKS_TEST_BOOTSTRAP_SERVERS
	@test -n "$$FIREWORKS_TEST_BOOTSTRAP_SERVERS" || { echo 'set FIREWORKS_TEST_BOOTSTRAP_SERVERS=HOST:PORT first'; exit 2; }
	$(CARGO) test --locked $(addprefix --test ,$(SUITES)) $(ARGS)

.PHONY: chaos
chaos: ## kill, stop, add and remove processes and take brokers away for five minutes: every step once all the same
	FIREWORKS_CHAOS_SECONDS=$${FIREWORKS_CHAOS_SECONDS:-300} $(CARGO) test --locked --test chaos $(ARGS) -- --nocapture

.PHONY: chaos-kafka
chaos-kafka: ## the same on three Apache Kafka brokers of its own (needs Java 17 and Maven)
	KAFKA_BROKERS=3 tests/kafka/run $(MAKE) chaos

.PHONY: test-leader
test-leader: ## look at the dashboard while a partition has no leader, on three Apache Kafka brokers of its own
	KAFKA_BROKERS=3 tests/kafka/run $(CARGO) test --locked --test dashboard_leader $(ARGS)

.PHONY: fuzz
fuzz: ## fuzz the broker and the decoders, FUZZ_SECONDS (30) each
	fuzz/run $(ARGS)

.PHONY: bench
bench: ## measure everything beside its peers and limits, or PARTS of it; writes benches/BENCHMARKS.md (needs Java 17, Maven, gcc)
	$(CARGO) build --release --locked
	benches/peers/build
	$(CARGO) bench --locked --bench bench --no-run
	tests/kafka/run $(CARGO) bench --locked --bench bench -- $(PARTS)

.PHONY: profile
profile: ## draw where the time goes: benches/profile (needs perf, inferno, Java 17, Maven)
	$(CARGO) build --release --locked
	benches/profile/run

.PHONY: test-clients
test-clients: ## check the embedded broker with kcat, kafka-python, confluent-kafka and Java clients
	$(CARGO) build --locked
	tests/clients/run

.PHONY: test-clean
test-clean: ## make demo and make test as a newcomer types them, on a bare Debian (needs root and debootstrap)
	tests/clean/run

.PHONY: test-spark
test-spark: ## compare the Spark application with generate, record by record, through a crash (needs Java, Maven, Python)
	$(CARGO) build --locked
	tests/spark/run

.PHONY: test-browser
test-browser: ## look at the page in a headless Chromium
	$(CARGO) build --locked
	tests/browser/run

.PHONY: screenshots
screenshots: ## take pictures of the page: target/screenshots, and the README's own
	$(CARGO) build --locked
	tests/browser/run static

.PHONY: test-charts
test-charts: ## render the charts for every set of options and check them, offline
	tests/charts/run

.PHONY: up
up: ## bring the pipeline up on a kind cluster, from the dev container (needs Docker): http://localhost:8080
	docker/dev fireworks up $(ARGS)

.PHONY: down
down: ## remove what up made, and the dev container
	docker/dev fireworks down $(ARGS)
	docker/dev stop

.PHONY: e2e
e2e: ## bring it up for real, strike it, compare every step, take it down (needs docker, kind, helm, kubectl)
	$(CARGO) build --locked
	tests/e2e/run

.PHONY: bench-up
bench-up: ## time up, its own share, and the same commands in turn (needs docker, kind, helm, kubectl)
	$(CARGO) build --locked
	tests/e2e/bench

.PHONY: shell
shell: ## enter the dev container (needs Docker): Rust, kind, helm, kubectl, kcat
	docker/dev shell

.PHONY: check
check: ## formatting, clippy and the documentation, without a warning
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items

.PHONY: install
install: ## install fireworks with TLS and SASL (needs perl, and some minutes for OpenSSL)
	$(CARGO) install --locked --path . --features tls

# The dev container: Rust, kind, helm, kubectl, kcat and a client for the Docker engine of the host. It is what `make up`
# and `make shell` run in and what VS Code opens. There is no engine of its own in it, and no source: that is mounted.
ARG RUST=rust:1.95-bookworm
# The client's programs are static, so any base takes them.
ARG DOCKER_CLI=docker:29-cli@sha256:b1805116a6a86cc591b5d5f60a910a0715cdcc9d18d866ad68b1457ead25c35c
# An image with kind, helm and kubectl in /tools, where their own sites are out of reach; else they are fetched.
ARG TOOLS=fetched

FROM ${DOCKER_CLI} AS docker-cli

FROM ${RUST} AS fetched
COPY kind/pins.env docker/fetch-tools /fetch/
RUN /fetch/fetch-tools /fetch/pins.env /tools

FROM ${TOOLS} AS tools

FROM ${RUST}
# iproute2 is for the bridge to the cluster's network; the rest is for looking at it.
RUN apt-get update && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        bash-completion bind9-dnsutils iproute2 iputils-ping jq kcat less procps sudo vim-tiny && \
    rm -rf /var/lib/apt/lists/*
RUN rustup component add clippy rustfmt rust-src
COPY --from=docker-cli /usr/local/bin/docker /usr/local/bin/docker
COPY --from=docker-cli /usr/local/libexec/docker/cli-plugins/docker-buildx /usr/local/libexec/docker/cli-plugins/docker-buildx
COPY --from=tools /tools/ /usr/local/bin/
# Builds go to a volume: the host's own target/ belongs to its own toolchain.
ENV CARGO_TARGET_DIR=/var/cache/fireworks/target \
    PATH=/var/cache/fireworks/target/release:$PATH
# The sources belong to whoever mounts them.
RUN git config --system --add safe.directory '*' && \
    helm completion bash >/etc/bash_completion.d/helm && \
    kubectl completion bash >/etc/bash_completion.d/kubectl && \
    kind completion bash >/etc/bash_completion.d/kind
WORKDIR /workspace
CMD ["/workspace/docker/dev-start"]

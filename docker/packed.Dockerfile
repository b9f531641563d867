# An image around an executable that is there already: `docker build -f packed.Dockerfile -t fireworks:TAG DIR`, where
# DIR holds `fireworks`. It compiles nothing. The base must have the C library that the executable was linked to, or a
# newer one; the build runs it to find out, and fails where it doesn't start.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
COPY fireworks /usr/local/bin/fireworks
RUN ["/usr/local/bin/fireworks", "--version"]
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/fireworks"]

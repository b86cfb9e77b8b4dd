# The image of controller and runner: one static program, CA certificates and an empty /tmp; no shell, no package manager.
#
#   docker build --tag REGISTRY/memory-migration-operator:VERSION .
#   docker buildx build --platform linux/amd64,linux/arm64 --tag … --push .
#
# The build runs on the target's architecture: natively where there is a builder of it, otherwise emulated. Without a
# container engine: `make image` (docs/image.md).
# The compiler of the release workflow, by tag.
ARG RUST_VERSION=1.95.0

FROM docker.io/library/rust:${RUST_VERSION}-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
# Static, so that nothing else has to be in the image; the program resolves names itself.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    target=$(rustc -vV | sed -n 's/^host: //p') && \
    RUSTFLAGS="-C target-feature=+crt-static" \
      cargo build --locked --release --bin memory-migration --target "$target" && \
    mkdir -p /image/usr/bin /image/etc/ssl/certs /image/tmp && chmod 1777 /image/tmp && \
    cp "target/$target/release/memory-migration" /image/usr/bin/ && \
    cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

FROM scratch
COPY --from=build /image /
# A number: a cluster cannot tell that a name is not root's.
USER 65532:65532
ENTRYPOINT ["/usr/bin/memory-migration"]
LABEL org.opencontainers.image.title="memory-migration-operator" \
      org.opencontainers.image.description="Moves the memories of AI agents between Chroma servers and stores, and proves it" \
      org.opencontainers.image.licenses="Apache-2.0"

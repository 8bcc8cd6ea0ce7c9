# The command `cloakroom`, alone: docker build --tag cloakroom . && docker run --rm cloakroom --help
# The store and the secret come from the environment, or from a file that is mounted:
#   docker run --rm -e CLOAKROOM_STORE -v ./secret.txt:/secret.txt:ro cloakroom clearsessions --secret-key-file /secret.txt
FROM rust:1-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --release --locked --package cloakroom-cli && cp target/release/cloakroom /cloakroom

FROM debian:bookworm-slim
# The authorities that TLS to a store trusts.
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --uid 10001 --home-dir /data --create-home cloakroom
COPY --from=build /cloakroom /usr/local/bin/cloakroom
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/cloakroom/
USER 10001
# Where cloakroom.toml and SQLite's files are mounted.
WORKDIR /data
ENTRYPOINT ["cloakroom"]

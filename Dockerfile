# For people with an engine: docker build -t okr-operator . `make image` makes one without, reproducibly and with pinned root
# certificates: that is the one which is released.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN target="$(rustc -vV | sed -n 's/^host: //p')" \
 && RUSTFLAGS=-Ctarget-feature=+crt-static cargo build --release --locked --bin okr-operator --target "$target" \
 && cp "target/$target/release/okr-operator" /okr-operator

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /okr-operator /okr-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/okr-operator"]
CMD ["run"]

# The image of `natsbridge serve`, made by `cargo xtask dist image` from the archive's folder, which is the build's context.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data natsbridge \
    && install -d -o natsbridge -m 0700 /data
COPY natsbridge /usr/local/bin/natsbridge
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/natsbridge/
USER natsbridge
WORKDIR /data
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["natsbridge"]
CMD ["serve", "--listen", "0.0.0.0:8080", "--dir", "/data"]

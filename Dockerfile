# The node, with the embedded Triton server, as an image:
#   docker build -t dicomnode .        where there is Docker
#   make image                         where there is none (buildah)
#
#   docker run --read-only --tmpfs /tmp --shm-size 2g -p 11112:11112 \
#     -v dicomnode:/var/lib/dicomnode -v ./dicomnode.toml:/etc/dicomnode/dicomnode.toml:ro dicomnode
#
# Debian's own Python: the same packages everywhere, with Debian's security updates.
ARG BASE=docker.io/library/debian:bookworm-slim


# --- what building and running share
FROM ${BASE} AS python
# Debian's mirrors keep one version of a package, the patched one, so none is named here.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libpython3.11 python3 tini \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*


# --- the virtual environment, made at the place where it will run
FROM python AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements/image.lock requirements/run.lock requirements/
# pip stays in the tools' environment; the other one is never able to install anything. The secret
# is optional: certificates to trust where the package index is reached through a proxy.
RUN --mount=type=secret,id=trust,target=/etc/ssl/certs/ca-certificates.crt \
    python3 -m venv /tools \
    && python3 -m venv --without-pip /opt/dicomnode \
    && /tools/bin/pip install --no-cache-dir --require-hashes --only-binary :all: \
        --requirement requirements/image.lock \
    && /tools/bin/pip --python /opt/dicomnode/bin/python install --no-cache-dir --require-hashes \
        --only-binary :all: --requirement requirements/run.lock
COPY pyproject.toml README.md LICENSE ./
COPY dicomnode dicomnode
RUN /tools/bin/python -m hatchling build --target wheel --directory /wheel \
    && /tools/bin/pip --python /opt/dicomnode/bin/python install --no-cache-dir --no-index \
        --no-deps /wheel/*.whl \
    # Clocks must not count: the same sources make the same list.
    && /tools/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
        --mc-type application --output-format JSON --output-file /opt/dicomnode/sbom.cdx.json \
        /opt/dicomnode/bin/python


# --- what runs: no pip, no compiler, no shell needed
FROM python
ARG BASE
ARG VERSION=0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="dicomnode" \
      org.opencontainers.image.description="A DICOM node that runs Triton models on CT series and answers with SEG and SR. Research use only." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE}"
# A number, so that Kubernetes can see that it is not root. Nothing but the data folder is its own,
# and no program makes anybody more than they are.
RUN groupadd --gid 10001 dicomnode \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/dicomnode \
        --shell /usr/sbin/nologin dicomnode \
    && install -d -o 10001 -g 10001 -m 0750 /var/lib/dicomnode \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
COPY --from=build /opt/dicomnode /opt/dicomnode
COPY deploy/image/dicomnode.toml /etc/dicomnode/dicomnode.toml
COPY deploy/image/healthcheck.py /opt/dicomnode/healthcheck.py
ENV PATH=/opt/dicomnode/bin:/usr/local/bin:/usr/bin:/bin \
    DICOMNODE_CONFIG=/etc/dicomnode/dicomnode.toml \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /var/lib/dicomnode
VOLUME /var/lib/dicomnode
USER 10001:10001
EXPOSE 11112 8080 8081
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python3", "/opt/dicomnode/healthcheck.py"]
# The first process gets no signal that it has not asked for, and every orphan: that is tini's work.
ENTRYPOINT ["/usr/bin/tini", "--", "dicomnode"]
CMD ["serve"]

# A node, a migration or any other `peyk` command. Two stages: what builds never reaches what runs.
# Build with `--build-arg COMMIT=$(git rev-parse --short HEAD)`; metrics show it.

FROM python:3.12.7-slim-bookworm AS build
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/peyk
COPY requirements/base.txt requirements/build.txt requirements/
RUN /opt/peyk/bin/pip install --require-hashes -r requirements/base.txt -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY messenger messenger
COPY channels channels
COPY calls calls
COPY verification verification
COPY loadgen loadgen
RUN /opt/peyk/bin/pip install --no-deps --no-build-isolation . \
    && /opt/peyk/bin/pip uninstall --yes setuptools pip \
    && python -m compileall -q /opt/peyk/lib

FROM python:3.12.7-slim-bookworm AS run
ARG COMMIT=""
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin peyk
COPY --from=build /opt/peyk /opt/peyk
COPY --chmod=0555 deploy/alive.py /opt/peyk/alive.py
ENV PATH=/opt/peyk/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PEYK_COMMIT=$COMMIT \
    PEYK_ENV=production \
    PEYK_HOME=/run/peyk \
    PEYK_HOST=0.0.0.0 \
    PEYK_CODE_SENDER=none
USER 10001:10001
EXPOSE 8000 8100
# A node answers nobody before it is ready, and takes up to 30 s to drain: give it 40 s to stop.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=40s --retries=3 \
    CMD ["python", "-S", "/opt/peyk/alive.py"]
ENTRYPOINT ["peyk"]
CMD ["node"]

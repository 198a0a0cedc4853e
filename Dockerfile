# The image of Passaparola, for docs/howto/scale.md: `make image` builds it. `make rehearsal` runs the same steps without
# Docker; it knows the instructions used here and no others (checks/dockerfile.py).
FROM python:3.13-slim AS base
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_QUIET=1 PYTHONUNBUFFERED=1

# The wheel, with pages, styles, scripts and flows in it. The locked hatchling makes it and asks nobody.
FROM base AS build
WORKDIR /build
COPY requirements.build.lock ./
RUN python -m pip install --require-hashes --only-binary :all: -r requirements.build.lock
COPY . ./
RUN python -m hatchling build -t wheel

# What runs: the locked packages without the tools of development, and the wheel.
FROM base
WORKDIR /srv
COPY requirements.run.lock ./
RUN python -m pip install --require-hashes --only-binary :all: -r requirements.run.lock
COPY --from=build /build/dist ./dist
RUN python -m pip install --no-deps --no-index dist/*.whl
RUN useradd --uid 10001 --no-create-home --home-dir /data passaparola \
    && install --directory --owner passaparola --group passaparola --mode 700 /data
ENV PASSAPAROLA_HOST=0.0.0.0 PASSAPAROLA_PORT=8080 PASSAPAROLA_HEALTH_PORT=8080 PASSAPAROLA_DATA_DIR=/data
# By number, so that a cluster sees that it is not root.
USER 10001
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
# For every role: one without `web` answers on the health port.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PASSAPAROLA_HEALTH_PORT\"]}/healthz', timeout=3)"]
ENTRYPOINT ["passaparola"]
CMD ["serve"]

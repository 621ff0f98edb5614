# syntax=docker/dockerfile:1

# The pages under web/, where there are any: a checkout without them builds too.
FROM node:22-slim AS web
WORKDIR /src/web
# "we[b]" may match nothing; LICENSE keeps the COPY valid then.
COPY LICENSE we[b] ./
RUN if [ -f package-lock.json ]; then npm ci --no-audit --no-fund && npm run build; fi && mkdir -p dist

FROM python:3.13-slim AS builder
# runtime, or telemetry for the OpenTelemetry exporter too: docker build --build-arg LOCK=telemetry .
ARG LOCK=runtime
WORKDIR /app
RUN python -m venv --without-pip /opt/venv
COPY requirements/${LOCK}.lock /tmp/requirements.lock
# Wheels alone: nothing is compiled, so no compiler is needed here either.
RUN pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check \
    --require-hashes --only-binary :all: -r /tmp/requirements.lock
COPY . .
COPY --from=web /src/web/dist /tmp/web/dist
# The root file system is read-only at run time, so the byte code is made here.
RUN rm -rf web requirements && mv /tmp/web web && python -m compileall -q main.py app

FROM python:3.13-slim AS final
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin soloist \
    && install -d -o soloist -g soloist /data
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /app /app
WORKDIR /app
# HOST opens every interface, so the service refuses to start with AUTH_MODE=none
# until ALLOW_ANONYMOUS=true says that this is meant.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 \
    PORT=8010 \
    EMBEDDED_DB=/data/embedded.db
USER 10001:10001
VOLUME /data
EXPOSE 8010
STOPSIGNAL SIGTERM
# No proxy: http_proxy in the environment would send the probe away from this container.
HEALTHCHECK --interval=10s --timeout=4s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['PORT'] + '/api/v1/health', timeout=3)"]
CMD ["python", "main.py"]

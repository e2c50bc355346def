# Built from the root of the repository: docker build --file deploy/containers/cloud.Dockerfile .
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY protos protos
COPY edge_node edge_node
COPY cloud_server cloud_server
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim-bookworm
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    pip install --no-cache-dir --constraint /constraints.txt "$(echo /wheels/tidegate-*.whl)[cloud,dashboard,images,rest]"
# ONNX Runtime reports its use to its maker unless it is told not to.
ENV ORT_DISABLE_TELEMETRY=1 PYTHONDONTWRITEBYTECODE=1 STATE_DIRECTORY=/var/lib/tidegate
# A volume that is mounted here for the first time takes over whose folder this is.
RUN install -d -o 10001 -g 10001 "$STATE_DIRECTORY"
USER 10001:10001
EXPOSE 8001 9465
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "from urllib.request import urlopen; urlopen('http://127.0.0.1:9465/metrics', timeout=4)"]
ENTRYPOINT ["cloud-server"]
CMD ["run", "--config", "/etc/tidegate/cloud.toml"]

# The sidecar's image, for amd64 and arm64 alike: everything in it comes as a wheel for both.
# The base may be any Debian-like image in which python3.15 is found, its venv module included.
ARG BASE=python:3.15-slim-trixie

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends binutils \
 && python3.15 -m venv /opt/osm-healthcheck
WORKDIR /src
COPY requirements.lock ./
RUN /opt/osm-healthcheck/bin/python -m pip install --no-cache-dir --only-binary :all: \
      --require-hashes -r requirements.lock
COPY LICENSE README.md pyproject.toml ./
COPY osm_healthcheck osm_healthcheck
# uvloop's library is 16 MB with its symbols and 2 MB without. What runs is bytecode, without
# docstrings (-OO), without columns for tracebacks and without a look at the sources' times.
RUN /opt/osm-healthcheck/bin/python -m pip install --no-cache-dir --no-deps . \
 && /opt/osm-healthcheck/bin/python -m pip uninstall -q -y pip \
 && find /opt/osm-healthcheck -name '*.so' -exec strip --strip-unneeded {} + \
 && find /opt/osm-healthcheck '(' -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.pyc' ')' -delete \
 && python3.15 -X no_debug_ranges -m compileall -q -o 2 --invalidation-mode unchecked-hash /opt/osm-healthcheck/lib \
 && printf '%s\n' \
      '#!/opt/osm-healthcheck/bin/python -IOOXlazy_imports=all' \
      'from osm_healthcheck.cli.main import main' \
      'main()' > /osm-healthcheck \
 && chmod 755 /osm-healthcheck

FROM ${BASE}
# The standard library as the same kind of bytecode: the root file system is read-only later.
RUN python3.15 -X no_debug_ranges -m compileall -q -o 2 --invalidation-mode unchecked-hash -x '/(test|idlelib|site-packages|dist-packages)/' \
      "$(python3.15 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /opt/osm-healthcheck /opt/osm-healthcheck
# OSM's injector calls it by this path.
COPY --from=build /osm-healthcheck /osm-healthcheck
USER 15904:15904
EXPOSE 15901 15902 15903 15904
ENTRYPOINT ["/osm-healthcheck"]

# Four images, for amd64 and arm64 alike:
#
#   sidecar   (the default) the daemon, as OSM's injector calls it: /osm-healthcheck
#   init      iptables and /init.sh, which installs the bypass in a pod
#   injector  the sidecar's, with what the injector takes to make certificates of its own
#   node      the sidecar's, with iptables and /init.sh, for node mode that installs the bypass in pods
#
# All begin from nothing and hold what they run and no more: no package manager, and a shell in init
# and node only. The bases are only built on. Either may be any Debian-like image; that of the sidecar
# has python3.15 on its path, with the venv module. Where they come from a registry, name them by
# digest (docs/images.md): these are tags, which move. .ci/images, and so a release, uses neither.
ARG BASE=python:3.15-slim-trixie
ARG INIT_BASE=debian:trixie-slim

FROM ${INIT_BASE} AS init-files
RUN apt-get update && apt-get install -y --no-install-recommends iptables
COPY .ci/pack .ci/pack-iptables /usr/local/bin/
COPY iptables/init.sh /image/
RUN sh /usr/local/bin/pack-iptables /image

FROM scratch AS init
COPY --from=init-files /image /
ENV PATH=/usr/sbin:/sbin:/usr/bin:/bin
ENTRYPOINT ["/init.sh"]

FROM ${BASE} AS sidecar-files
RUN apt-get update \
 && apt-get install -y --no-install-recommends binutils \
 && python3.15 -m venv /opt/osm-healthcheck
WORKDIR /src
# All that the daemon needs, as `uv pip compile pyproject.toml --generate-hashes --no-header
# --no-emit-index-url --no-emit-package pyyaml --python-version 3.15` writes it. PyYAML is for the
# commands that read manifests, and has no wheel for 3.15.
COPY requirements.lock ./
RUN /opt/osm-healthcheck/bin/python -m pip install --no-cache-dir --only-binary :all: \
      --require-hashes -r requirements.lock
# What the injector needs beside that, out of the sidecar's way. Written by `uv pip compile` as above,
# from `cryptography`.
COPY requirements-injector.lock ./
RUN /opt/osm-healthcheck/bin/python -m pip install --no-cache-dir --only-binary :all: \
      --require-hashes -r requirements-injector.lock --target /opt/injector
# What builds the wheel, too, is one file that is known by its hash; it does not stay.
RUN echo 'setuptools==84.2.1 --hash=sha256:ca140b45d5325a9478f880e351484f62fef15f336462e449ca0c03c873d589c2' \
  | /opt/osm-healthcheck/bin/python -m pip install --no-cache-dir --only-binary :all: \
      --require-hashes -r /dev/stdin
COPY LICENSE README.md pyproject.toml ./
COPY osm_healthcheck osm_healthcheck
RUN /opt/osm-healthcheck/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/osm-healthcheck/bin/python -m pip uninstall -q -y pip setuptools
COPY .ci/pack /usr/local/bin/
# Python, its standard library and the virtual environment, at the paths that they have here, but for
# what a daemon never imports: tests, windows, terminals, databases, debuggers, installers.
RUN python=$(python3.15 -c 'import sys; print(sys.executable)') \
 && stdlib=$(python3.15 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))') \
 && cd "$stdlib" \
 && rm -rf _pyrepl config-* curses dbm ensurepip idlelib lib2to3 profiling pydoc* site-packages sqlite3 \
      test tkinter turtle* unittest venv \
 && cd lib-dynload \
 && rm -rf _curses* _*dbm* _remote_debugging* _sqlite3* _tkinter* *test* readline* xx* \
 && sh /usr/local/bin/pack /image "$python" $(find "$stdlib" /opt/osm-healthcheck -name '*.so') \
 && cp -RL --parents -t /image "$stdlib" \
 && cp -a --parents -t /image /opt/osm-healthcheck/lib /opt/osm-healthcheck/bin/python* /opt/osm-healthcheck/pyvenv.cfg
# uvloop's library is 16 MB with its symbols and 2 MB without. What runs is bytecode in place of the
# sources, without docstrings (-OO), without columns for tracebacks and without times.
RUN find /image/opt -name '*.so' -exec strip --strip-unneeded {} + \
 && find /image -name __pycache__ -exec rm -r {} + \
 && python3.15 -X no_debug_ranges -m compileall -q -b -o 2 --invalidation-mode unchecked-hash -s /image /image \
 && find /image -name '*.py' -o -name '*.py[ix]' -o -name '*.px[di]' -o -name '*.[ch]' | xargs rm \
 && printf '%s\n' \
      '#!/opt/osm-healthcheck/bin/python -IOOXlazy_imports=all' \
      'from osm_healthcheck.cli.main import main' \
      'main()' > /image/osm-healthcheck \
 && chmod 755 /image/osm-healthcheck

FROM sidecar-files AS injector-files
RUN sh /usr/local/bin/pack /image $(find /opt/injector -name '*.so') \
 && cp -a --parents -t /image /opt/injector \
 && find /image/opt/injector -name '*.so' -exec strip --strip-unneeded {} + \
 && find /image/opt/injector -name __pycache__ -exec rm -r {} + \
 && python3.15 -X no_debug_ranges -m compileall -q -b -o 2 --invalidation-mode unchecked-hash -s /image /image/opt/injector \
 && find /image/opt/injector -name '*.py' -o -name '*.pyi' -o -name '*.[ch]' | xargs rm \
 && echo /opt/injector > /image/opt/osm-healthcheck/lib/python3.15/site-packages/injector.pth

FROM scratch AS injector
COPY --from=injector-files /image /
USER 15904:15904
EXPOSE 9090 9091
ENTRYPOINT ["/osm-healthcheck", "injector"]

# Of the sidecar's Debian, not of init's: one C library is for both.
FROM sidecar-files AS node-files
RUN apt-get install -y --no-install-recommends iptables
COPY .ci/pack-iptables /usr/local/bin/
COPY iptables/init.sh /image/
RUN sh /usr/local/bin/pack-iptables /image

FROM scratch AS node
COPY --from=node-files /image /
USER 15904:15904
ENV PATH=/usr/sbin:/sbin:/usr/bin:/bin
ENTRYPOINT ["/osm-healthcheck"]

FROM scratch AS sidecar
COPY --from=sidecar-files /image /
USER 15904:15904
EXPOSE 15901 15902 15903 15904
# OSM's injector calls it by this path.
ENTRYPOINT ["/osm-healthcheck"]

#!/bin/sh
# Make a root directory with CPython 3.15 and the sidecar's dependencies, to measure with:
#
#   tests/bench/python315.sh DIR
#   python -m tests.bench life --root DIR
#
# The root comes from Debian's unstable suite by debootstrap, so this needs root. The mirror is the
# one that this machine's apt uses already; where that is not a Debian mirror, set MIRROR. Wheels
# are fetched by this machine's own pip (PYTHON says of which Python; default python3), with whatever
# it is configured to use, and installed inside without a network: those of requirements.lock, which
# the image has too. PyYAML is not among them, nor does anything that is measured read a manifest;
# for the tests, which .ci/pythons runs in this root, there are Debian's PyYAML and iproute2.
# Bytecode is compiled for plain runs and for -OO, and uvloop's library is stripped, as in an image.
#
# Run again on the same DIR it installs the dependencies anew and leaves the rest as it is. The
# project itself is not installed: the benchmark puts its current state in at every run. Nothing
# stays mounted; to be rid of it all, remove DIR.
set -eu

usage='usage: tests/bench/python315.sh DIR (as root)'
python=${PYTHON:-python3}
project=$(cd "$(dirname "$0")/../.." && pwd)

fail() {
    echo "python315.sh: $1" >&2
    exit "${2:-1}"
}

# The first archive in apt's configuration, in either of its two formats, that is not one for
# security updates.
configured_mirror() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources \
        2>/dev/null |
        awk '$1 == "URIs:" || $1 == "deb" {
            for (i = 2; i <= NF; i++)
                if ($i ~ /^[a-z+]+:\/\// && $i !~ /security/) { print $i; exit }
        }'
}

[ $# -eq 1 ] || fail "$usage" 2
case $1 in
    -h | --help) echo "$usage"; exit 0 ;;
    -*) fail "$usage" 2 ;;
esac
[ "$(id -u)" -eq 0 ] || fail 'debootstrap and chroot take root' 2
for tool in debootstrap strip "$python"; do
    command -v "$tool" >/dev/null || fail "$tool is missing (apt-get install debootstrap binutils)"
done

mkdir -p "$1"
root=$(cd "$1" && pwd)
if [ ! -x "$root/usr/bin/python3.15" ]; then
    [ -z "$(ls -A "$root")" ] || fail "$root is neither empty nor a root made by this script"
    mirror=${MIRROR:-$(configured_mirror)}
    [ -n "$mirror" ] || fail 'no mirror in /etc/apt/sources*; set MIRROR to one of Debian' 2
    debootstrap --variant=minbase --include=python3.15,python3.15-venv,iproute2,python3-yaml \
        unstable "$root" "$mirror"
fi

wheels=$root/opt/wheels
rm -rf "$wheels" "$root/opt/venv"
cp "$project/requirements.lock" "$root/opt/"
machine=$(uname -m)
# --no-deps: the lock has all that 3.15 needs, and pip would ask what its own Python needs.
"$python" -m pip download --quiet --dest "$wheels" --requirement "$project/requirements.lock" \
    --require-hashes --no-deps \
    --only-binary=:all: --implementation cp --python-version 3.15 \
    --abi cp315 --abi abi3 --abi none --platform "manylinux_2_28_$machine" \
    --platform "manylinux_2_17_$machine" --platform "manylinux2014_$machine"

inside() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 chroot "$root" "$@"
}
inside python3.15 -m venv /opt/venv
inside /opt/venv/bin/python -m pip install --quiet --no-index --find-links /opt/wheels \
    --require-hashes --no-deps --requirement /opt/requirements.lock
find "$root/opt/venv" -name '*.so' -path '*/uvloop/*' -exec strip --strip-unneeded {} +
inside /opt/venv/bin/python -m compileall -q -o 0 -o 2 /opt/venv/lib /usr/lib/python3.15

rm -rf "$wheels"
inside /opt/venv/bin/python -VV
echo "ready: python -m tests.bench life --root $root"

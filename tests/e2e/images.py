"""Images without a registry or a daemon: OCI archives, made of files.

The archive's format is that of https://github.com/opencontainers/image-spec (image-layout.md).
"""

import hashlib
import io
import json
import platform
import re
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def files_of(*programs: Path) -> dict[str, Path]:
    """Programs of this machine and the shared libraries that they need, each at its own path."""
    found = {}
    for file in programs:
        found[str(file)] = file
        listed = subprocess.run(["ldd", str(file)], capture_output=True, text=True, check=False)
        for library in re.findall(r"/[^ \n:]+", listed.stdout):
            found[library] = Path(library)
    return found


def write_image(
    archive: Path,
    name: str,
    files: Mapping[str, Path],
    links: Mapping[str, str] | None = None,
    entrypoint: Sequence[str] = (),
) -> None:
    """Write an image of one layer.

    Args:
        archive: what is written.
        name: of the image, with its registry and tag.
        files: where each file is in the image, and what it is a copy of.
        links: symbolic links, and where they point.
        entrypoint: what runs where a pod says nothing.
    """
    layer = _layer(files, links or {})
    architecture = _ARCHITECTURES[platform.machine()]
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Entrypoint": entrypoint,
            "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    blobs = [layer, json.dumps(config).encode()]
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", blobs[1]),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    }
    blobs.append(json.dumps(manifest).encode())
    described = _descriptor(_MANIFEST, blobs[2]) | {
        "platform": {"architecture": architecture, "os": "linux"},
        "annotations": {"io.containerd.image.name": name},
    }
    index = {"schemaVersion": 2, "manifests": [described]}
    with tarfile.open(archive, "w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(tar, "index.json", json.dumps(index).encode())
        for blob in blobs:
            _add(tar, "blobs/" + _digest(blob).replace(":", "/"), blob)


def _layer(files: Mapping[str, Path], links: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in ("tmp", "run"):
            folder = tarfile.TarInfo(path)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(folder)
        for path, file in files.items():
            _add(tar, path.lstrip("/"), file.read_bytes())
        for path, target in links.items():
            link = tarfile.TarInfo(path.lstrip("/"))
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, path: str, content: bytes) -> None:
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(content), 0o755
    tar.addfile(info, io.BytesIO(content))


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"

#!/usr/bin/env python3
"""Write a root file system directory as a one-layer OCI image layout.

The layer is a sorted tar with clamped modification times, so the same directory
gives the same image on any day. Hard links and device nodes are kept.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile

EPOCH = 1704067200  # 2024-01-01T00:00:00Z
CREATED = "2024-01-01T00:00:00Z"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Tee(io.RawIOBase):
    """Hashes and counts everything that is written through it."""

    def __init__(self, inner):
        self.inner = inner
        self.sha = hashlib.sha256()
        self.size = 0

    def writable(self):
        return True

    def write(self, data):
        self.sha.update(data)
        self.size += len(data)
        self.inner.write(data)
        return len(data)

    def digest(self):
        return "sha256:" + self.sha.hexdigest()


def add(tar, root, name, root_owned, links):
    path = os.path.join(root, name)
    info = tar.gettarinfo(path, arcname=name)
    if info is None:  # a socket
        return
    info.mtime = min(int(info.mtime), EPOCH)
    info.uname = info.gname = ""
    if root_owned:
        info.uid = info.gid = 0
    status = os.lstat(path)
    info.type = tarfile.REGTYPE if info.islnk() else info.type
    key = (status.st_dev, status.st_ino)
    if info.isreg() and status.st_nlink > 1:
        if key in links:
            info.type, info.linkname, info.size = tarfile.LNKTYPE, links[key], 0
        else:
            links[key] = name
            info.size = status.st_size
    if info.isreg():
        with open(path, "rb") as data:
            tar.addfile(info, data)
    else:
        tar.addfile(info)


def write_layer(root, out, root_owned):
    """Returns (diff id, blob digest, blob size); the blob is written to `out`."""
    with open(out, "wb") as raw:
        packed = Tee(raw)
        zipped = gzip.GzipFile("", "wb", 6, packed, mtime=0)
        plain = Tee(zipped)
        links = {}
        with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for directory, subdirs, files in os.walk(root):
                subdirs.sort()
                relative = os.path.relpath(directory, root)
                if relative != ".":
                    add(tar, root, relative, root_owned, links)
                here = [n for n in subdirs if os.path.islink(os.path.join(directory, n))]
                for name in sorted(files + here):
                    add(tar, root, os.path.normpath(os.path.join(relative, name)), root_owned, links)
        zipped.close()
    return plain.digest(), packed.digest(), packed.size


class Layout:
    def __init__(self, directory):
        self.directory = directory
        self.blobs = os.path.join(directory, "blobs", "sha256")
        os.makedirs(self.blobs)
        with open(os.path.join(directory, "oci-layout"), "w") as out:
            out.write('{"imageLayoutVersion":"1.0.0"}')

    def put(self, value):
        data = json.dumps(value, separators=(",", ":")).encode()
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(self.blobs, digest), "wb") as out:
            out.write(data)
        return "sha256:" + digest, len(data)

    def layer(self, root, root_owned):
        temporary = os.path.join(self.directory, "layer.tmp")
        diff_id, digest, size = write_layer(root, temporary, root_owned)
        os.rename(temporary, os.path.join(self.blobs, digest.removeprefix("sha256:")))
        return diff_id, digest, size


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rootfs")
    parser.add_argument("layout", help="directory to create")
    parser.add_argument("--arch", required=True, help="Go's name of the architecture")
    parser.add_argument("--ref", default="latest")
    parser.add_argument("--cmd", default="sh")
    parser.add_argument("--root-owned", action="store_true", help="record every file as 0:0")
    options = parser.parse_args()
    if os.path.exists(options.layout):
        sys.exit(f"{options.layout} exists")

    layout = Layout(options.layout)
    diff_id, layer, layer_size = layout.layer(options.rootfs, options.root_owned)
    config, config_size = layout.put(
        {
            "created": CREATED,
            "architecture": options.arch,
            "os": "linux",
            "config": {"Env": [PATH], "Cmd": [options.cmd]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": CREATED, "created_by": f"ADD {options.ref} /"}],
        }
    )
    manifest, manifest_size = layout.put(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config,
                "size": config_size,
            },
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "digest": layer,
                    "size": layer_size,
                }
            ],
        }
    )
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": manifest,
                "size": manifest_size,
                "platform": {"architecture": options.arch, "os": "linux"},
                "annotations": {"org.opencontainers.image.ref.name": options.ref},
            }
        ],
    }
    with open(os.path.join(options.layout, "index.json"), "w") as out:
        json.dump(index, out, separators=(",", ":"))


if __name__ == "__main__":
    main()

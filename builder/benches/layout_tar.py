#!/usr/bin/env python3
"""Pack an OCI image layout directory as a tarball under another reference name.

usage: layout_tar.py LAYOUT NAME:TAG FILE
"""

import io
import json
import os
import sys
import tarfile


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    layout, name, out = sys.argv[1:]
    with open(os.path.join(layout, "index.json")) as text:
        index = json.load(text)
    for manifest in index["manifests"]:
        manifest["annotations"] = {
            "io.containerd.image.name": f"docker.io/library/{name}",
            "org.opencontainers.image.ref.name": name.rpartition(":")[2],
        }
    with tarfile.open(out + ".tmp", "w") as tar:
        tar.add(os.path.join(layout, "oci-layout"), "oci-layout")
        tar.add(os.path.join(layout, "blobs"), "blobs")
        data = json.dumps(index).encode()
        info = tarfile.TarInfo("index.json")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    os.rename(out + ".tmp", out)


if __name__ == "__main__":
    main()

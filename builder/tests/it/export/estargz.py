"""Reads an eStargz layer by its specification alone: footer, index, members, digests.

usage: estargz.py BLOB DIFF_ID TOC_DIGEST TAR_SIZE

Prints a line for each entry of the index: kind, name, size, digest of the file, link.
"""

import gzip
import hashlib
import io
import json
import struct
import sys
import tarfile
import zlib


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def member(blob, offset):
    """The gzip member that begins at `offset`, and no more of the blob."""
    stream = zlib.decompressobj(wbits=31)
    data = stream.decompress(blob[offset:])
    assert stream.eof, offset
    return data


blob = open(sys.argv[1], "rb").read()
diff_id, toc_digest, tar_size = sys.argv[2:]

footer = blob[-51:]
magic, method, flags = struct.unpack("<HBB", footer[:4])
assert (magic, method, flags) == (0x8B1F, 8, 4), footer
assert footer[10:16] == struct.pack("<H2sH", 26, b"SG", 22), footer
assert footer[32:38] == b"STARGZ" and footer[38:43] == b"\1\0\0\xff\xff", footer
assert gzip.decompress(footer) == b""
toc_offset = int(footer[16:32], 16)

toc_tar = member(blob, toc_offset)
with tarfile.open(fileobj=io.BytesIO(toc_tar)) as tar:
    (only,) = tar.getmembers()
    assert only.name == "stargz.index.json"
    toc_json = tar.extractfile(only).read()
assert sha256(toc_json) == toc_digest
toc = json.loads(toc_json)
assert toc["version"] == 1

# For whoever knows nothing of all this it is a gzip layer.
plain = gzip.decompress(blob)
assert sha256(plain) == diff_id and len(plain) == int(tar_size)
expected = {}
with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
    names = []
    for info in tar:
        name = info.name + "/" if info.isdir() else info.name
        names.append(name)
        if info.isreg():
            expected[name] = tar.extractfile(info).read()
assert names[-1] == "stargz.index.json"
assert names[0] == ".no.prefetch.landmark" and expected[names[0]] == b"\x0f"

entries = toc["entries"]
assert [entry["name"] for entry in entries if entry["type"] != "chunk"] == names[:-1]
at = 0
while at < len(entries):
    first = entries[at]
    at += 1
    parts = [first]
    while at < len(entries) and entries[at]["type"] == "chunk":
        assert entries[at]["name"] == first["name"]
        parts.append(entries[at])
        at += 1
    size = first.get("size", 0)
    data = b""
    if first["type"] == "reg" and size:
        for number, part in enumerate(parts):
            assert part.get("chunkOffset", 0) == len(data)
            assert (part.get("chunkSize", 0) == 0) == (number == len(parts) - 1)
            length = part.get("chunkSize", 0) or size - len(data)
            chunk = member(blob, part["offset"])[:length]
            assert len(chunk) == length and sha256(chunk) == part["chunkDigest"]
            data += chunk
        assert sha256(data) == first["digest"] and data == expected[first["name"]]
    print(first["type"], first["name"], size, len(parts), first.get("linkName", "-"))

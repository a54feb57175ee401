#!/usr/bin/env python3
"""Show what looking for secrets adds to packing a layer.

usage: secrets.py COOPER DIR [ROUNDS]

Makes the layer of W5s (workload.py) in DIR and packs it with no secret, with one and with twenty,
as gzip, as zstd and plain, each time in a store of its own, the contenders in turn. Prints the
least processor time (user and system) of each, in seconds, and how much more than with no secret
that is; the time that the COPY itself takes is not in it. Each round packs 2.3 GiB.
"""

import os
import pathlib
import random
import resource
import shutil
import subprocess
import sys

import workload

COUNTS = (0, 1, 20)
KINDS = ("gzip", "zstd", "uncompressed")


def secrets(root):
    """Values as they are in use: tokens and passwords of 12 to 60 characters."""
    rng = random.Random(7)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_/+"
    options = []
    for number in range(max(COUNTS)):
        path = root / f"secret{number}"
        path.write_text("".join(rng.choices(alphabet, k=rng.randint(12, 60))))
        options += ["--secret", f"id=s{number},src={path}"]
    return options


def processor_time(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def packing(cooper, root, kind, options):
    store = root / "store"
    shutil.rmtree(store, ignore_errors=True)
    os.sync()
    build = [cooper, "--root", str(store), "build", "-q", str(root / "context")]
    processor_time([*build, "-o", "type=cacheonly"])
    return processor_time([*build, *options, "-o", f"type=oci,dest=-,compression={kind}"])


def main():
    cooper, root = sys.argv[1], pathlib.Path(sys.argv[2])
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    context = root / "context"
    if not context.exists():
        workload.w5s(context)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY tree /tree\n")
    options = secrets(root)
    times = {}
    for _ in range(rounds):
        for kind in KINDS:
            for count in COUNTS:
                time = packing(cooper, root, kind, options[: 2 * count])
                times.setdefault((kind, count), []).append(time)
    for kind in KINDS:
        none = min(times[kind, COUNTS[0]])
        for count in COUNTS:
            least = min(times[kind, count])
            print(f"{kind:12} {count:3} secrets {least:7.2f} s {100 * (least / none - 1):+6.1f} %")
    shutil.rmtree(root / "store", ignore_errors=True)


if __name__ == "__main__":
    main()

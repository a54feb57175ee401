#!/usr/bin/env python3
"""Show what looking for secrets adds to packing a layer.

usage: secrets.py COOPER DIR [ROUNDS [KIND[:WAY]]...]

Makes the layer of W5s (workload.py) in DIR and packs it with no secret, with one, with twenty,
with twenty of eight characters and with a search for credentials, as gzip, as zstd and plain, each
time in a store of its own, the contenders in turn. The ways are

    file    a layer that was built before goes into an archive in a file
    pipe    the same archive goes to a pipe, and must be searched before it does
    whole   the layer is built too, and goes to a file

Prints the least and the middle of processor time (user and system) and of wall time, in seconds,
and how much more than with no secret those are. What is not packing, the COPY itself, is in the
last way alone. Each round packs 1.3 GiB a kind and a way.
"""

import os
import pathlib
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time

import workload

KINDS = ("gzip:file", "zstd:file", "uncompressed:file", "uncompressed:pipe", "uncompressed:whole")


def secrets(root, name, count, shortest, longest):
    """Values as they are in use: tokens and passwords."""
    rng = random.Random(7)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_/+"
    options = []
    for number in range(count):
        path = root / f"{name}{number}"
        path.write_text("".join(rng.choices(alphabet, k=rng.randint(shortest, longest))))
        options += ["--secret", f"id=s{number},src={path}"]
    return options


def contenders(root):
    return {
        "nothing": [],
        "1 secret": secrets(root, "one", 1, 12, 60),
        "20 secrets": secrets(root, "token", 20, 12, 60),
        "20 of 8 bytes": secrets(root, "password", 20, 8, 8),
        "credentials": ["--detect-credentials"],
    }


def times_of(command):
    """Processor time and wall time of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def packing(cooper, root, kind, options):
    compression, _, way = kind.partition(":")
    store, archive = root / "store", root / "archive.tar"
    shutil.rmtree(store, ignore_errors=True)
    archive.unlink(missing_ok=True)
    build = [cooper, "--root", str(store), "build", "-q", str(root / "context")]
    if way != "whole":
        times_of([*build, "-o", "type=cacheonly"])
    os.sync()
    dest = "-" if way == "pipe" else archive
    return times_of([*build, *options, "-o", f"type=oci,dest={dest},compression={compression}"])


def main():
    cooper, root = sys.argv[1], pathlib.Path(sys.argv[2])
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    kinds = sys.argv[4:] or KINDS
    context = root / "context"
    if not context.exists():
        workload.w5s(context)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY tree /tree\n")
    times = {}
    for _ in range(rounds):
        for kind in kinds:
            for name, options in contenders(root).items():
                times.setdefault((kind, name), []).append(packing(cooper, root, kind, options))
    for (kind, name), all_times in times.items():
        columns = []
        for one, without in zip(zip(*all_times), zip(*times[kind, "nothing"])):
            for measure in (min, statistics.median):
                took, none = measure(one), measure(without)
                columns.append(f"{took:7.2f} s {100 * (took / none - 1):+6.1f} %")
        print(f"{kind:18} {name:13}", *columns)
    shutil.rmtree(root / "store", ignore_errors=True)
    (root / "archive.tar").unlink(missing_ok=True)


if __name__ == "__main__":
    main()

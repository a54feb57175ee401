#!/usr/bin/env python3
"""Show what looking for secrets adds to packing a layer.

usage: secrets.py COOPER DIR [ROUNDS [KIND]...]

Makes the layer of W5s (workload.py) in DIR and packs it with no secret, with one, with twenty,
with twenty of eight characters and with a search for credentials, as gzip, as zstd and plain, each
time in a store of its own, the contenders in turn. Prints the least and the middle processor time
(user and system) of each, in seconds, and how much more than with no secret those are; the time
that the COPY itself takes is not in it. Each round packs 3.8 GiB.
"""

import os
import pathlib
import random
import resource
import shutil
import statistics
import subprocess
import sys

import workload

KINDS = ("gzip", "zstd", "uncompressed")


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
        for measure in (min, statistics.median):
            time, none = measure(all_times), measure(times[kind, "nothing"])
            columns.append(f"{time:7.2f} s {100 * (time / none - 1):+6.1f} %")
        print(f"{kind:12} {name:13}", *columns)
    shutil.rmtree(root / "store", ignore_errors=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Show what builds cost that share a cache at the same time.

usage: at_once.py COOPER BUSYBOX_TAR DIR [ROUNDS]

Builds four different images (a COPY of 2,500 files of 8 KiB and twenty RUNs each) on one cache, one
after the other and then all at once, each time from an empty cache, ROUNDS times (default 5) in
turn; then the same image four times, alone and at once. Prints the median wall time of each, in
seconds, and of what runs at once the least that its processor time allows on this machine's
processors: user and system time of all four, divided by their number. BUSYBOX_TAR is a base image
that `cooper load` takes. DIR belongs on a file system with a journal: ext4 without one creates files
many times slower after many were removed, and then that is all one sees.
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

BUILDS = 4


def context(root, number):
    rng = random.Random(number)
    tree = root / f"context{number}/tree"
    for directory in range(50):
        (tree / f"d{directory:02}").mkdir(parents=True)
        for file in range(50):
            (tree / f"d{directory:02}/f{file:02}").write_bytes(rng.randbytes(8192))
    runs = "".join(f"RUN echo {number} {step} > /f{step}\n" for step in range(20))
    (tree.parent / "Dockerfile").write_text(f"FROM busybox\nCOPY tree /tree\n{runs}")
    return tree.parent


def timed(commands, together):
    """Wall and processor seconds of the commands, together or one after the other."""
    os.sync()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    running = []
    for command in commands:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        running.append(process)
        if not together:
            process.wait()
    if any(process.wait() for process in running):
        sys.exit(f"at_once: a build failed: {commands}")
    wall = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, used


def main():
    cooper, busybox, root = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]).resolve()
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    shutil.rmtree(root, ignore_errors=True)
    contexts = [context(root, number) for number in range(BUILDS)]
    program = [cooper, "--root", str(root / "store")]

    def build(path):
        return [*program, "build", "-q", str(path)]

    kinds = {
        "four images, in a row": ([build(path) for path in contexts], False),
        "four images, at once": ([build(path) for path in contexts], True),
        "one image, once": ([build(contexts[0])], False),
        "one image, four at once": ([build(contexts[0])] * BUILDS, True),
    }
    samples = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, (commands, together) in kinds.items():
            shutil.rmtree(root / "store", ignore_errors=True)
            load = [*program, "load", "-q", "-i", busybox]
            subprocess.run(load, check=True, stdout=subprocess.DEVNULL)
            samples[kind].append(timed(commands, together))
    print(f"{'median seconds':<26}{'wall':>8}{'processor':>11}{'/ processors':>14}")
    for kind, found in samples.items():
        wall, used = (statistics.median(column) for column in zip(*found))
        print(f"{kind:<26}{wall:>8.3f}{used:>11.3f}{used / os.cpu_count():>14.3f}")


if __name__ == "__main__":
    main()

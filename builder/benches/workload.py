#!/usr/bin/env python3
"""Make the benchmark contexts: the same bytes on every machine.

usage: workload.py DIR [W1|W3|W4|W5s|W6|W10|W10few|W10copy|W10env]...

  W1   FROM busybox and 30 trivial RUNs
  W3   COPY of 20,000 files of 8 KiB (half text, half random) in 500 directories
  W4   8 stages that sleep one second each, joined by COPY --from
  W5s  a layer of 256 MiB: half binary-like, a quarter text, a quarter random
  W6   FROM a registry's debian and RUN true (the reference is a build argument)
  W10  200 tiny stages joined through 10 groups: a RUN each, W10copy a COPY each; W10few is
       the first of 40 stages, since docker 20.10 gives up on more; W10env is 1,000 ENV and
       LABEL lines
"""

import pathlib
import random
import sys

WORDS = (
    "the stave hoop barrel cooper bends oak flame water rain holds set stood rise fall "
    "creak swell well made wood iron ring head croze chime bung cask keg firkin tun"
).split()


def text(rng, size):
    out, length = [], 0
    while length < size:
        line = " ".join(rng.choices(WORDS, k=10)) + "\n"
        out.append(line)
        length += len(line)
    return "".join(out).encode()[:size]


def binary_like(rng, size):
    """Half-compressible data: short random runs between repeated ones, as in code."""
    palette = [rng.randbytes(rng.randint(4, 24)) for _ in range(256)]
    out, length = [], 0
    while length < size:
        piece = rng.randbytes(8) if rng.random() < 0.35 else palette[rng.randrange(256)]
        out.append(piece)
        length += len(piece)
    return b"".join(out)[:size]


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def w1(root):
    runs = "".join(f"RUN echo {i} > /f{i}\n" for i in range(1, 31))
    write(root / "Dockerfile", "FROM busybox\n" + runs)


def w3(root):
    rng = random.Random(3)
    prose = text(rng, 1 << 20)
    for directory in range(500):
        for number in range(40):
            if number % 2:
                data = rng.randbytes(8192)
            else:
                start = rng.randrange(len(prose) - 8192)
                data = prose[start : start + 8192]
            write(root / f"tree/d{directory:03}/f{number:02}", data)
    write(root / "Dockerfile", "FROM busybox\nCOPY tree /tree\n")


def w4(root):
    lines = []
    for stage in range(8):
        lines += [f"FROM busybox AS s{stage}", f"RUN sleep 1; echo {stage} > /out{stage}"]
    lines += ["FROM busybox"]
    lines += [f"COPY --from=s{stage} /out{stage} /" for stage in range(8)]
    write(root / "Dockerfile", "\n".join(lines) + "\n")


def w5s(root):
    rng = random.Random(5)
    mebibyte = 1 << 20
    chunk = binary_like(rng, 8 * mebibyte)
    for number in range(128):
        start = rng.randrange(6 * mebibyte)
        piece = bytearray(chunk[start : start + mebibyte])
        for _ in range(2000):
            at = rng.randrange(mebibyte - 16)
            piece[at : at + 8] = rng.randbytes(8)
        write(root / f"tree/bin/{number:03}", bytes(piece))
    for number in range(64):
        write(root / f"tree/text/{number:03}", text(rng, mebibyte))
        write(root / f"tree/random/{number:03}", rng.randbytes(mebibyte))
    write(root / "Dockerfile", "FROM busybox\nCOPY tree /tree\n")


def w6(root):
    write(root / "Dockerfile", "ARG BASE\nFROM ${BASE}\nRUN true\n")


def w10(root, stages=200):
    fanned_in(root, lambda stage: f"RUN echo {stage} > /out{stage}", stages)


def w10few(root):
    w10(root, 40)


def w10copy(root):
    for stage in range(200):
        write(root / f"in{stage}", f"{stage}\n")
    fanned_in(root, lambda stage: f"COPY in{stage} /out{stage}")


def w10env(root):
    lines = ["FROM busybox"]
    for number in range(500):
        lines += [f"ENV NAME{number}=value{number}", f"LABEL label{number}=value{number}"]
    write(root / "Dockerfile", "\n".join(lines) + "\n")


def fanned_in(root, step, stages=200):
    lines = []
    for stage in range(stages):
        lines += [f"FROM busybox AS s{stage}", step(stage)]
    for group in range(10):
        lines += [f"FROM busybox AS g{group}"]
        own = range(stages * group // 10, stages * (group + 1) // 10)
        lines += [f"COPY --from=s{s} /out{s} /" for s in own]
    lines += ["FROM busybox"]
    lines += [f"COPY --from=g{group} /out* /all/" for group in range(10)]
    write(root / "Dockerfile", "\n".join(lines) + "\n")


MAKERS = {
    "W1": w1,
    "W3": w3,
    "W4": w4,
    "W5s": w5s,
    "W6": w6,
    "W10": w10,
    "W10few": w10few,
    "W10copy": w10copy,
    "W10env": w10env,
}


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[1])
    for name in sys.argv[2:] or MAKERS:
        MAKERS[name](root / name)


if __name__ == "__main__":
    main()

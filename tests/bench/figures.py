# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the benches share: measuring in turn, comparing medians, marking what is beyond its bound."""
import json
import os
import statistics
import subprocess
import time

ROUNDS = int(os.environ.get("VIRTDISK_BENCH_ROUNDS", "5"))
SECONDS = os.environ.get("VIRTDISK_BENCH_SECONDS", "2")
MIB = 1 << 20
# The generator of the load shares the processors with what is measured, and its own work would count for every path
# alike: no clock is read for a request, no block is remembered, buffers and file are known to the kernel, and what is
# complete is taken together. The depth stays full.
LEAN = ("--gtod_reduce=1", "--norandommap", "--random_generator=tausworthe64", "--fixedbufs", "--registerfiles",
        "--iodepth_batch_submit=16", "--iodepth_batch_complete_min=1", "--iodepth_batch_complete_max=16")
missed = []


def report(name, value, bound, unit="", better="at least"):
    good = value >= bound if better == "at least" else value <= bound
    print(f"{'   ' if good else '!! '}{name}: {value:.3g}{unit} ({better} {bound:g}{unit})", flush=True)
    if not good:
        missed.append(name)


def record(text):
    print(f"   {text}", flush=True)


def fio(device, pattern, block, depth, *more):
    """Bytes per second."""
    writes = "write" in pattern
    out = subprocess.run(["fio", "--name=x", f"--filename={device}", f"--rw={pattern}", f"--bs={block}",
                          f"--iodepth={depth}", "--ioengine=io_uring", "--direct=1", *LEAN, *([] if writes else ["--readonly"]),
                          "--time_based", f"--runtime={SECONDS}", "--output-format=json", *more],
                         check=True, capture_output=True, text=True)
    return json.loads(out.stdout)["jobs"][0]["write" if writes else "read"]["bw_bytes"]


def alternate(*parts):
    """Runs the parts in turn, ROUNDS times -> the median of each."""
    results = [[] for _ in parts]
    for _ in range(ROUNDS):
        for part, result in zip(parts, results):
            result.append(part())
    return [statistics.median(result) for result in results]


def timed(function):
    start = time.monotonic()
    function()
    return time.monotonic() - start


def verdict(code=0):
    """The exit code, after naming what missed its bound."""
    if missed:
        print("beyond their bounds: " + "; ".join(missed))
    return code or (1 if missed else 0)

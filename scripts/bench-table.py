#!/usr/bin/env python3
"""Prints one row of scripts/bench.sh: medians of leasehold, of the reference, and their ratio."""

import json
import statistics
import sys

directory, present, clients, rounds, servers = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:]


def median(name, read):
    files = (f"{directory}/{name}.{present}.{clients}.{n}" for n in range(1, rounds + 1))
    return statistics.median(read(json.load(open(file))) for file in files)


# What is measured, how it is read, whether more is better.
FIGURES = [
    ("units/s", lambda run: run["units_per_second"], True),
    ("removes/s", lambda run: run["removes_per_second"], True),
    ("Prepare p50 ms", lambda run: run["prepare"]["p50_ms"], False),
    ("Commit p50 ms", lambda run: run["commit"]["p50_ms"], False),
    ("Commit p99 ms", lambda run: run["commit"]["p99_ms"], False),
    ("Stat p50 ms", lambda run: run["stat"]["p50_ms"], False),
    ("Remove p99 ms", lambda run: run["remove"]["p99_ms"], False),
    ("Cleanup s", lambda run: run["cleanup_seconds"], False),
    ("server CPU s", lambda run: run["server_cpu_seconds"], False),
    ("server RSS MiB", lambda run: run["server_rss_mib"], False),
]

print(f"\n{present} snapshots present, {clients} clients, median of {rounds} rounds")
print(f"{'':16}" + "".join(f" {name:>12}" for name in servers) + (" times better" if len(servers) == 2 else ""))
for label, read, more_is_better in FIGURES:
    medians = [median(name, read) for name in servers]
    row = f"{label:16}" + "".join(f" {value:12.3f}" for value in medians)
    if len(medians) == 2 and all(medians):
        ours, theirs = medians
        row += f" {ours / theirs if more_is_better else theirs / ours:12.2f}"
    print(row)
sys.stdout.flush()

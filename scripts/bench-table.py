#!/usr/bin/env python3
"""Prints medians of leasehold, of the reference, and their ratio: what scripts/bench*.sh have written down.

Usage: bench-table.py snapshots|content|apply|compare TITLE ROUNDS PATTERN SERVER..., where PATTERN names a file by {server} and {round}.
"""

import json
import statistics
import sys

# What is measured, where it is in a report, whether more is better.
SNAPSHOTS = [
    ("units/s", "units_per_second", True),
    ("removes/s", "removes_per_second", True),
    ("Prepare p50 ms", "prepare.p50_ms", False),
    ("Commit p50 ms", "commit.p50_ms", False),
    ("Commit p99 ms", "commit.p99_ms", False),
    ("Stat p50 ms", "stat.p50_ms", False),
    ("Remove p99 ms", "remove.p99_ms", False),
    ("Cleanup s", "cleanup_seconds", False),
    ("server CPU s", "server_cpu_seconds", False),
    ("server RSS MiB", "server_rss_mib", False),
]
CONTENT = [
    ("ingest MiB/s", "ingest.mib_per_second", True),
    ("ingest blobs/s", "ingest.blobs_per_second", True),
    ("open p50 ms", "ingest.open.p50_ms", False),
    ("WRITE p50 ms", "ingest.write.p50_ms", False),
    ("WRITE p99 ms", "ingest.write.p99_ms", False),
    ("COMMIT p50 ms", "ingest.commit.p50_ms", False),
    ("COMMIT p99 ms", "ingest.commit.p99_ms", False),
    ("ingest CPU s", "ingest.server_cpu_seconds", False),
    ("  client's", "ingest.client_cpu_seconds", False),
    ("ingest peak MiB", "ingest.server_peak_mib", False),
    ("read MiB/s", "read.mib_per_second", True),
    ("read blobs/s", "read.blobs_per_second", True),
    ("read CPU s", "read.server_cpu_seconds", False),
    ("  client's", "read.client_cpu_seconds", False),
    ("read peak MiB", "read.server_peak_mib", False),
    ("in parts MiB/s", "readat.mib_per_second", True),
    ("in parts CPU s", "readat.server_cpu_seconds", False),
    ("  client's", "readat.client_cpu_seconds", False),
    ("Delete p50 ms", "remove.call.p50_ms", False),
    ("Delete p99 ms", "remove.call.p99_ms", False),
]
APPLY = [
    ("wall s", "seconds", False),
    ("CPU s", "cpu_seconds", False),
    ("peak MiB", "peak_mib", False),
    ("  before", "base_mib", False),
]
COMPARE = [("wall s", "seconds", False), ("CPU s", "cpu_seconds", False), ("blob bytes", "bytes", False)]


def main():
    kind, title, rounds, pattern, servers = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5:]
    figures = {"snapshots": SNAPSHOTS, "content": CONTENT, "apply": APPLY, "compare": COMPARE}[kind]

    def report(server, number):
        with open(pattern.format(server=server, round=number), encoding="utf-8") as file:
            return json.load(file)

    reports = {server: [report(server, number) for number in range(1, rounds + 1)] for server in servers}
    if kind == "apply":
        # Who made something else of the layers did not do the same work.
        assert len({tuple(run["layers"]) for runs in reports.values() for run in runs}) == 1, reports
    print(f"\n{title}, median of {rounds} rounds")
    print(f"{'':16}" + "".join(f" {server:>12}" for server in servers) + " times better" * (len(servers) - 1))
    for label, path, more_is_better in figures:
        medians = [statistics.median(value_at(run, path) for run in reports[server]) for server in servers]
        row = f"{label:16}" + "".join(f" {value:12.3f}" for value in medians)
        ours, *others = medians
        for theirs in others:
            if ours and theirs:
                row += f" {ours / theirs if more_is_better else theirs / ours:12.2f}"
        print(row)


def value_at(run, path):
    for name in path.split("."):
        # What is zero is left out of a report.
        run = run.get(name, 0.0)
    return run


main()

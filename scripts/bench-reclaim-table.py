#!/usr/bin/env python3
"""Prints what clients wait for while layers are removed and deleted, for scripts/bench.sh: alone, beside, and ratios."""

import json
import statistics
import sys

directory, layers, files, clients, rounds = *sys.argv[1:5], int(sys.argv[5])
servers = sys.argv[6:]
runs = {
    name: [json.load(open(f"{directory}/{name}.reclaim.{n}")) for n in range(1, rounds + 1)] for name in servers
}


def median(name, read):
    return statistics.median(read(run) for run in runs[name])


print(f"\n{clients} clients beside the removal and deletion of {layers} layers of {files} files, median of {rounds} rounds")
header = "".join(f" {name + ' alone':>16} {'beside':>8} {'ratio':>6}" for name in servers)
print(f"{'':14}{header} {'times better beside':>20}")
for call in ["prepare", "commit", "stat", "remove"]:
    for figure in ["p50_ms", "p99_ms", "max_ms"]:
        row, beside = f"{call} {figure.removesuffix('_ms')} ms".ljust(14), []
        for name in servers:
            alone = median(name, lambda run: run["alone"][call][figure])
            beside.append(median(name, lambda run: run["reclaiming"][call][figure]))
            ratio = beside[-1] / alone if alone else float("nan")
            row += f" {alone:16.3f} {beside[-1]:8.3f} {ratio:6.2f}"
        print(row + (f" {beside[1] / beside[0]:20.2f}" if len(beside) == 2 and beside[0] else ""))
for label, read in [("reclaim s", lambda run: run["reclaim_seconds"]), ("units beside", lambda run: run["reclaiming_units"])]:
    print(label.ljust(14) + "".join(f" {'':16} {median(name, read):8.2f} {'':6}" for name in servers))
sys.stdout.flush()

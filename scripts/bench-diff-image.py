#!/usr/bin/env python3
"""Makes the layers of an image out of files of this machine: what scripts/bench-diff.sh applies.

Usage: bench-diff-image.py DIRECTORY. In it will be gzip/0 to gzip/7 and zstd/0 to zstd/7, and blobs/sha256 with the same files by
their digests, as a content store has them. The same machine gives the same image.

Real files, because what matters is how they compress and how large they are: 35,000 of them with 725 MiB. Whole directories are
taken in an order that is as good as random, each with an eye on the mean size of a file.
"""

import hashlib
import os
import stat
import subprocess
import sys
import tarfile

HOME = os.path.expanduser("~")
# Where each layer's files are from, how many MiB, and how many.
LAYERS = [
    (["/usr/bin", "/usr/sbin"], 30, 400),
    (["/usr/lib", "/usr/libexec"], 100, 1_800),
    (["/usr/share"], 80, 11_500),
    ([HOME + "/.rustup", HOME + "/.cargo/registry", "/usr/include"], 110, 8_000),
    ([HOME + "/go/pkg/mod", "/usr/local/go"], 200, 8_800),
    (["/usr/lib", "/usr/local", HOME + "/.rustup"], 110, 2_000),
    ([HOME + "/.cargo/registry", "/usr/share", HOME + "/go/pkg/mod"], 90, 2_450),
    (["/etc", "/usr/share"], 5, 50),
]
MIB = 1 << 20
LARGEST_FILE = 40 * MIB


def rank(path):
    return hashlib.sha256(path.encode(errors="surrogateescape")).digest()


def directories(roots):
    """Yields directories with the files in them, by rank."""
    found = []
    for root in roots:
        device = os.stat(root).st_dev if os.path.isdir(root) else None
        for path, names, files in os.walk(root):
            names[:] = sorted(name for name in names if os.lstat(os.path.join(path, name)).st_dev == device)
            if files:
                found.append((rank(path), path, sorted(files)))
    for _, path, files in sorted(found):
        yield path, files


def choose(roots, size, count, taken):
    """Returns paths of about `count` files with `size` bytes, none of which was taken before."""
    chosen, bytes_left, files_left = [], size, count
    # Once more without an eye on the mean, should it have been too picky.
    for picky in (True, False):
        for path, files in directories(roots):
            if bytes_left <= 0 or files_left <= 0:
                return chosen
            group, total = [], 0
            for name in files:
                file = os.path.join(path, name)
                info = os.lstat(file)
                if file in taken or info.st_nlink > 1 and stat.S_ISREG(info.st_mode):
                    continue
                if stat.S_ISLNK(info.st_mode) or stat.S_ISREG(info.st_mode) and info.st_size <= LARGEST_FILE:
                    group.append(file)
                    total += info.st_size if stat.S_ISREG(info.st_mode) else 0
            if not group or total > bytes_left + 4 * MIB or len(group) > files_left + 200:
                continue
            # Below the line from here to the goal, large files are wanted, above it small ones.
            wanted = bytes_left / files_left
            done = (size - bytes_left) / max(count - files_left, 1) if chosen else wanted
            if picky and (total / len(group) > wanted) != (done < size / count):
                continue
            chosen += group
            taken.update(group)
            bytes_left -= total
            files_left -= len(group)
    return chosen


def write(layer, paths, target):
    """Writes the tar stream of a layer, with the directories above each file."""
    made = set()
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT, bufsize=MIB) as archive:

        def add(path):
            info = archive.gettarinfo(path, arcname=path.lstrip("/"))
            # Of this one file only.
            info.type = tarfile.REGTYPE if info.islnk() else info.type
            info.mtime = int(info.mtime)
            if info.isreg():
                info.size = os.lstat(path).st_size
                with open(path, "rb") as file:
                    archive.addfile(info, file)
            else:
                archive.addfile(info)

        def add_parents(path):
            parent = os.path.dirname(path)
            if parent in made or parent == "/":
                return
            add_parents(parent)
            made.add(parent)
            add(parent)

        for path in sorted(paths):
            add_parents(path)
            add(path)


def main():
    out = sys.argv[1]
    store = os.path.join(out, "blobs", "sha256")
    for path in ["gzip", "zstd", "blobs/sha256"]:
        os.makedirs(os.path.join(out, path))
    taken = set()
    for number, (roots, mib, count) in enumerate(LAYERS):
        paths = choose(roots, mib * MIB, count, taken)
        for kind, command in [("gzip", ["gzip", "-n", "-6"]), ("zstd", ["zstd", "-q", "-3", "-c"])]:
            blob = os.path.join(out, kind, str(number))
            with open(blob, "wb") as file:
                with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file) as process:
                    write(number, paths, process.stdin)
                    process.stdin.close()
                if process.returncode:
                    sys.exit(f"{command[0]} failed")
            with open(blob, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.link(blob, os.path.join(store, digest))
        raw = sum(os.lstat(path).st_size for path in paths if not os.path.islink(path))
        sizes = " ".join(f"{os.stat(os.path.join(out, kind, str(number))).st_size / MIB:.1f}" for kind in ["gzip", "zstd"])
        print(f"layer {number}: {len(paths)} files, {raw / MIB:.1f} MiB, gzip and zstd: {sizes}", flush=True)


main()

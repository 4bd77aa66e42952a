#!/usr/bin/env python3
"""Runs clang-tidy over files of the compilation database, in parallel, and remembers what was clean.

A file is checked again only when it, a header of the tree that it includes, or .clang-tidy has changed:
a whole run takes some minutes on two cores, a second one seconds.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOL = "clang-tidy-19"
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


class Fingerprints:
    """Hashes of files together with the headers of the tree that they include."""

    def __init__(self, root):
        self.root = root
        self.headers = {}  # path -> (hash of its text, paths it includes)

    def read(self, path):
        if path not in self.headers:
            text = path.read_bytes()
            names = INCLUDE.findall(text.decode(errors="replace"))
            beside = [(self.root / "src" / n, path.parent / n) for n in names]
            included = [next((p for p in pair if p.is_file()), None) for pair in beside]
            self.headers[path] = (hashlib.sha256(text).hexdigest(), [p for p in included if p])
        return self.headers[path]

    def of(self, path, extra):
        seen, todo = {}, [path]
        while todo:
            current = todo.pop()
            if current not in seen:
                seen[current], includes = self.read(current)
                todo += includes
        digest = hashlib.sha256(extra)
        for name in sorted(seen):
            digest.update(f"{name}\0{seen[name]}\n".encode())
        return digest.hexdigest()


# The database is GCC's: these words stop clang, which has no such options. (It only warns of others.)
GCC_ONLY = re.compile(r" -fno-tree-loop-distribute-patterns\b| -fno-stack-clash-protection\b")


def write_database(build, folder):
    """A copy of the build's database that clang understands."""
    folder.mkdir(exist_ok=True)
    text = (build / "compile_commands.json").read_text()
    (folder / "compile_commands.json").write_text(GCC_ONLY.sub("", text))


def commands(build):
    """The files of the tree that the database compiles, generated code left out."""
    entries = json.loads((build / "compile_commands.json").read_text())
    found = {}
    for entry in entries:
        path = pathlib.Path(entry["directory"], entry["file"]).resolve()
        inside = path.is_relative_to(ROOT) and not path.is_relative_to(build.resolve())
        if inside and path.suffix == ".cc":
            found.setdefault(path, entry["command"])
    return found


def without(path):
    """The checks that say nothing here: victims' descriptors are what is carried, flags and all."""
    is_victim = (ROOT / "tests") in path.parents or path.name.endswith("_live_test.cc") or path.name == "live_tree.cc"
    return ["--checks=-android-cloexec-*"] if is_victim else []


def check(database, path):
    done = subprocess.run([TOOL, "-p", str(database), "--quiet", "--extra-arg=-Wno-unknown-warning-option",
                           "--extra-arg=-Wno-error", *without(path), str(path)],
                          capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def run(build, wanted, jobs):
    """Checks the wanted files (all where empty). Returns the number of files with complaints."""
    stamps = build / "lint"
    write_database(build, stamps)
    settings = (ROOT / ".clang-tidy").read_bytes()
    fingerprints = Fingerprints(ROOT)
    todo = []
    for path, command in sorted(commands(build).items()):
        if wanted and path not in wanted:
            continue
        stamp = stamps / fingerprints.of(path, settings + command.encode())
        if not stamp.exists():
            todo.append((path, stamp))
    bad, said = 0, set()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(check, stamps, path): (path, stamp) for path, stamp in todo}
        for done in concurrent.futures.as_completed(running):
            path, stamp = running[done]
            code, output = done.result()
            if code == 0:
                stamp.touch()
                continue
            bad += 1
            # A complaint about a header comes up in each file that includes it; once is enough.
            for complaint in re.split(r"\n(?=/[^\n:]*:\d+:\d+: (?:error|warning))", output.strip()):
                first = complaint.split("\n", 1)[0]
                if first not in said:
                    said.add(first)
                    print(complaint.replace(f"{ROOT}/", ""), flush=True)
            if not output.strip():
                print(f"{path.relative_to(ROOT)}: {TOOL} failed without a word", flush=True)
    return bad


def main(arguments):
    build = pathlib.Path(os.environ.get("BUILD", ROOT / "build"))
    if not (build / "compile_commands.json").exists():
        sys.exit(f"{build} holds no compile_commands.json; run `make build` first")
    wanted = {pathlib.Path(name).resolve() for name in arguments}
    return 1 if run(build, wanted, int(os.environ.get("JOBS", os.cpu_count() or 1))) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

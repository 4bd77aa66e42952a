#!/usr/bin/env python3
"""Rules of this tree that no compiler knows: lengths, banned calls, unlisted files, documents.

Each rule is a function that yields complaints; tools/tidy_test.py shows each of them at work.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

LINES_MAX = 800
TEST_LINES_MAX = 1200
COLUMNS_MAX = 100

# pattern, where it is allowed (prefixes of the path), what to use instead
BANNED = [
    (r"(?<![\w>])::(open|openat|creat)\(", ("src/os/", "src/blob/"), "os::open, os::openat"),
    (r"(?<![\w>])::(fork|vfork)\(", ("src/os/",), "os::ChildProcess::fork"),
    (r"(?<![\w>])(::|std::)(system|popen)\(", (), "os::ChildProcess::start"),
    (r"(?<![\w.>:])(::|std::)?(f?printf|puts)\(|std::(cout|cerr)\b",
     ("src/cli/", "src/lab/", "src/base/"), "log_info and the like, or a returned Error"),
    (r"(?<![\w>])::(sleep|usleep|nanosleep)\(", ("src/os/",), "a deadline"),
    (r"(?<![\w.>:])(::|std::)?(strcpy|strcat|sprintf|gets|atoi|strtok)\(", (), "std::string, fmt, from_chars"),
    (r"(?<![\w:.>])assert\(", (), "CHECK"),
    (r"(?<![\w>])(::|std::)exit\(", ("src/cli/",), "a returned Error; ::_exit in a child"),
    (r"\busing namespace (?!std::\w+_literals)", (), "the names themselves"),
    (r"\bthrow\b", ("src/cli/",), "a returned Error"),  # CLI11 wants exceptions in its callbacks
    (r"\bgoto\b", (), "Cleanup, or a function"),
    (r"(?<![\w.>])errno\b",
     ("src/os/", "src/blob/", "src/net/", "src/agent/", "src/lab/", "src/handover/", "src/features/",
      "src/dump/guardian.cc"),
     "the Result of a function in os/"),
    (r"\bstd::(thread|async)\b",
     ("src/migrate/", "src/agent/", "src/lab/", "src/net/", "src/cli/",
      "src/resources/inet_socket.cc"),  # asks sock_diag beside the freeze; touches no task
     "one thread: Ferry's own work is single-threaded (I5, I7)"),
]
BANNED = [(re.compile(p), allowed, instead) for p, allowed, instead in BANNED]

UNFINISHED = re.compile(r"\b(FIXME|XXX|HACK)\b|\bTODO\b(?!\(#\d+\))")
# Paths of somebody's machine have no place in the tree.
MACHINE_PATH = re.compile(r"(?<![\w./])/(work|root)/\w")
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")
COMMENT = re.compile(r"//.*|/\*.*?\*/|\"(?:\\.|[^\"\\])*\"")


def is_test(path):
    return path.startswith("tests/") or re.search(r"_(test|fuzz|bench)\.cc$", path) is not None


def is_test_support(path, text):
    """Code for tests that is not a test says so at the top of its header, or of itself."""
    header = ROOT / re.sub(r"\.cc$", ".h", path)
    if path.endswith(".cc") and header.is_file():
        text += header.read_text()
    comments = re.findall(r"\A(?://.*\n)+|\n\n?(?://.*\n)+#pragma once", text)
    return is_test(path) or any(re.search(r"for (live )?tests|test support", c, re.I) for c in comments)


def check_lengths(path, text):
    lines = text.splitlines()
    most = TEST_LINES_MAX if is_test(path) else LINES_MAX
    if len(lines) > most:
        yield 1, f"{len(lines)} lines; split it before it has {most}"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS_MAX and "http" not in line:
            yield number, f"{len(line)} columns, {COLUMNS_MAX} are allowed"


def check_banned(path, text):
    if is_test_support(path, text):
        return
    allowed_here = False
    for number, line in enumerate(text.splitlines(), 1):
        code = COMMENT.sub("", line)
        excused, allowed_here = allowed_here or "NOLINT(tidy)" in line, "NOLINTNEXTLINE(tidy)" in line
        for pattern, allowed, instead in BANNED:
            if path.startswith(allowed) and allowed:
                continue
            found = pattern.search(code)
            if found and not excused:
                yield number, f"'{found.group(0).strip()}' is banned here; use {instead}"


def check_unfinished(_path, text):
    for number, line in enumerate(text.splitlines(), 1):
        found = UNFINISHED.search(line)
        if found:
            yield number, f"'{found.group(0)}': finish it, or name its issue as TODO(#123)"


def check_machine_paths(_path, text):
    for number, line in enumerate(text.splitlines(), 1):
        if MACHINE_PATH.search(line):
            yield number, "a path of one machine"


def check_header(path, text):
    if not path.endswith(".h"):
        return
    if "#pragma once" not in text:
        yield 1, "a header without #pragma once"
    if path.startswith("src/") and not text.startswith(("//", "/*")):
        yield 1, "a header begins with a comment that says what it is for"


def check_text(_path, text):
    if text and not text.endswith("\n"):
        yield len(text.splitlines()), "no newline at the end of the file"
    for number, line in enumerate(text.splitlines(), 1):
        if line != line.rstrip():
            yield number, "white space at the end of the line"


def check_document(path, text):
    """One title, and links that lead somewhere (path is the document's real path here)."""
    body = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    titles = re.findall(r"^# .+", body, flags=re.M)
    if len(titles) != 1:
        yield 1, f"{len(titles)} first-level headings; a document has one"
    elif not body.lstrip().startswith("# "):
        yield 1, "the title comes first"
    for target, _anchor in LINK.findall(body):
        if re.match(r"[a-z]+:", target):
            continue
        if not (pathlib.Path(path).parent / target).exists():
            yield 1, f"the link to {target} leads nowhere"


def check_listed(root):
    """Every .cc and .S file is named by the CMakeLists.txt of its folder (or of the one above)."""
    for path in sorted([*root.glob("src/**/*.cc"), *root.glob("src/**/*.S")]):
        lists = [p / "CMakeLists.txt" for p in (path.parent, path.parent.parent)]
        text = "".join(p.read_text() for p in lists if p.exists())
        if not re.search(rf"(?<![\w.]){re.escape(path.name)}(?![\w.])", text):
            yield f"{path.relative_to(root)}: no CMakeLists.txt names it, so nobody builds it"


def check_modules(root):
    """Folders of src/, tools/layers.txt and the table in ARCHITECTURE.md name the same modules."""
    layers = (root / "tools/layers.txt").read_text()
    named = set(re.findall(r"^(\w+):", layers, flags=re.M))
    folders = {p.parent.name for p in root.glob("src/*/CMakeLists.txt")}
    table = set(re.findall(r"^\| `(\w+)` \|", (root / "ARCHITECTURE.md").read_text(), flags=re.M))
    for name in sorted(folders - named):
        yield f"tools/layers.txt: module {name} is missing"
    for name in sorted(folders - table):
        yield f"ARCHITECTURE.md: the table of modules does not have {name}"
    for name in sorted((named | table) - folders):
        yield f"src/: there is no module {name}, but tools/layers.txt or ARCHITECTURE.md has it"


CODE_RULES = (check_lengths, check_banned, check_unfinished, check_machine_paths, check_header, check_text)


def tracked_files(root):
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=root,
                            check=True, capture_output=True, text=True)
    return sorted(set(listed.stdout.splitlines()))


def check_tree(root):
    complaints = []
    for name in tracked_files(root):
        path = root / name
        if not path.is_file():
            continue
        if name.startswith(("src/", "tests/")) and path.suffix in (".cc", ".h", ".S"):
            text = path.read_text()
            for rule in CODE_RULES:
                complaints += [f"{name}:{number}: {what}" for number, what in rule(name, text)]
        elif path.suffix == ".md":
            text = path.read_text()
            for rule, where in ((check_document, str(path)), (check_unfinished, name), (check_machine_paths, name)):
                complaints += [f"{name}:{number}: {what}" for number, what in rule(where, text)]
    return complaints + [*check_listed(root), *check_modules(root)]


def main():
    complaints = check_tree(ROOT)
    print(*complaints, sep="\n", end="\n" if complaints else "")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Every rule of tidy.py, shown to complain about what it is for and about nothing else."""
import pathlib
import tempfile
import unittest

import tidy


def complaints(rule, path, text):
    return [what for _number, what in rule(path, text)]


class Rules(unittest.TestCase):
    def test_a_file_that_is_too_long_is_named(self):
        self.assertTrue(complaints(tidy.check_lengths, "src/a/b.cc", "\n" * 801))
        self.assertFalse(complaints(tidy.check_lengths, "src/a/b.cc", "\n" * 800))
        self.assertFalse(complaints(tidy.check_lengths, "src/a/b_test.cc", "\n" * 801))

    def test_a_line_may_have_a_hundred_columns(self):
        self.assertTrue(complaints(tidy.check_lengths, "src/a/b.h", "x" * 101))
        self.assertFalse(complaints(tidy.check_lengths, "src/a/b.h", "x" * 100))
        self.assertFalse(complaints(tidy.check_lengths, "src/a/b.h", "// https://" + "x" * 100))

    def test_banned_calls_name_their_replacement(self):
        for code in ('::open("x", 0);', "::fork();", 'std::system("ls");', "printf(\"x\");", "::sleep(1);",
                     "strcpy(a, b);", "assert(x);", "std::exit(1);", "using namespace std;", "throw x;",
                     "if (errno == EINTR)", "std::thread t;"):
            self.assertTrue(complaints(tidy.check_banned, "src/dump/a.cc", code), code)

    def test_words_that_only_look_like_banned_calls_are_fine(self):
        for code in ("os::open(path, 0);", "Result<File> open(int);", "Error::system(code, what);",
                     "// do not printf(", '"fork() failed"', "child.exit();", "static_assert(x);",
                     "using namespace std::chrono_literals;", "fmt::print(x);", "rethrow_it();"):
            self.assertFalse(complaints(tidy.check_banned, "src/dump/a.cc", code), code)

    def test_a_call_is_allowed_in_its_own_module_in_tests_and_where_it_is_excused(self):
        self.assertFalse(complaints(tidy.check_banned, "src/os/fd.cc", "::open(p, 0);"))
        self.assertFalse(complaints(tidy.check_banned, "src/dump/a_test.cc", "::open(p, 0);"))
        self.assertFalse(complaints(tidy.check_banned, "src/dump/a.h", "// For live tests: a child.\n::fork();"))
        self.assertFalse(complaints(tidy.check_banned, "src/dump/a.cc", "::open(p, 0);  // NOLINT(tidy): why"))
        excused = "// Why. NOLINTNEXTLINE(tidy)\n::open(p, 0);\n"
        self.assertFalse(complaints(tidy.check_banned, "src/dump/a.cc", excused))
        self.assertEqual(len(complaints(tidy.check_banned, "src/dump/a.cc", excused + "::open(p, 0);\n")), 1)

    def test_unfinished_work_needs_an_issue(self):
        word = "TO" + "DO"
        self.assertTrue(complaints(tidy.check_unfinished, "a.cc", f"// {word}: later"))
        self.assertFalse(complaints(tidy.check_unfinished, "a.cc", f"// {word}(#12): later"))
        self.assertTrue(complaints(tidy.check_unfinished, "a.cc", "// X" + "XX"))

    def test_paths_of_one_machine_are_found(self):
        self.assertTrue(complaints(tidy.check_machine_paths, "a.cc", '"/wo' + 'rk/main"'))
        self.assertFalse(complaints(tidy.check_machine_paths, "a.cc", '"/proc/self/root/x"'))

    def test_a_header_has_a_guard_and_says_what_it_is_for(self):
        self.assertFalse(complaints(tidy.check_header, "src/a/b.h", "// What.\n#pragma once\n"))
        self.assertEqual(len(complaints(tidy.check_header, "src/a/b.h", "int x;\n")), 2)
        self.assertFalse(complaints(tidy.check_header, "src/a/b.cc", "int x;\n"))

    def test_white_space_is_tidy(self):
        self.assertTrue(complaints(tidy.check_text, "a.cc", "int x; \n"))
        self.assertTrue(complaints(tidy.check_text, "a.cc", "int x;"))
        self.assertFalse(complaints(tidy.check_text, "a.cc", "int x;\n"))

    def test_a_document_has_one_title_and_links_that_lead_somewhere(self):
        with tempfile.TemporaryDirectory() as folder:
            document = str(pathlib.Path(folder) / "a.md")
            (pathlib.Path(folder) / "b.md").write_text("# B\n")
            good = "# A\n\n[b](b.md#part) and [web](https://x.org)\n\n```\n# no title\n```\n"
            self.assertFalse(complaints(tidy.check_document, document, good))
            self.assertTrue(complaints(tidy.check_document, document, "# A\n\n# B\n"))
            self.assertTrue(complaints(tidy.check_document, document, "text\n\n# A\n"))
            self.assertTrue(complaints(tidy.check_document, document, "# A\n[c](c.md)\n"))


class Tree(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        self.write("src/base/CMakeLists.txt", "ferry_module(base\n  SOURCES error.cc)\n")
        self.write("src/base/error.cc", "")
        self.write("tools/layers.txt", "base:\n")
        self.write("ARCHITECTURE.md", "# A\n\n| `base` | errors |\n")

    def tearDown(self):
        self.folder.cleanup()

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def test_a_tree_in_order_has_no_complaints(self):
        self.assertEqual([*tidy.check_listed(self.root), *tidy.check_modules(self.root)], [])

    def test_a_source_file_that_nobody_builds_is_named(self):
        self.write("src/base/log.cc", "")
        self.assertEqual(len(list(tidy.check_listed(self.root))), 1)

    def test_a_module_that_is_nowhere_described_is_named(self):
        self.write("src/net/CMakeLists.txt", "")
        self.assertEqual(len(list(tidy.check_modules(self.root))), 2)

    def test_a_described_module_that_does_not_exist_is_named(self):
        self.write("tools/layers.txt", "base:\nmagic: base\n")
        self.assertEqual(len(list(tidy.check_modules(self.root))), 1)


if __name__ == "__main__":
    unittest.main()

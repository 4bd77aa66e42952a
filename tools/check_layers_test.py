#!/usr/bin/env python3
"""check_layers.py against small trees."""
import unittest

import check_layers

LAYERS = check_layers.load_layers("base:\nos: base  # system calls\ndump: base os\n")


class Layers(unittest.TestCase):
    def test_a_module_may_use_what_is_listed_and_itself(self):
        self.assertEqual(LAYERS["dump"], {"base", "os", "dump"})

    def test_a_cycle_is_an_error(self):
        with self.assertRaises(ValueError):
            check_layers.load_layers("base: os\nos: base\n")

    def test_an_include_from_above_is_found_with_its_line(self):
        lines = ['#include "base/error.h"', "", '#include "dump/tree.h"']
        found = list(check_layers.check_includes(LAYERS, "os", lines))
        self.assertEqual(found, [(3, "os may not include dump/")])

    def test_system_headers_and_own_files_are_no_modules(self):
        lines = ["#include <dump/tree.h>", '#include "fd.h"']
        self.assertEqual(list(check_layers.check_includes(LAYERS, "os", lines)), [])

    def test_linking_a_module_needs_the_same_permission(self):
        text = "ferry_module(os\n  SOURCES fd.cc\n  TESTS fd_test.cc\n  USES base dump\n  LIBS fmt::fmt)\n"
        self.assertEqual(list(check_layers.check_uses(LAYERS, text)), ["os may not use dump"])
        self.assertEqual(list(check_layers.check_uses(LAYERS, text.replace(" dump", ""))), [])


if __name__ == "__main__":
    unittest.main()

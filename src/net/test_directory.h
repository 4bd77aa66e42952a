// A directory of its own for a test, removed at its end.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

#include "base/check.h"

namespace ferry::net {

class TestDirectory {
  public:
    TestDirectory() {
        std::string path = (std::filesystem::temp_directory_path() / "ferry-test-XXXXXX").string();
        CHECK(::mkdtemp(path.data()) != nullptr);
        path_ = path;
    }
    TestDirectory(const TestDirectory&) = delete;
    TestDirectory& operator=(const TestDirectory&) = delete;
    ~TestDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    std::string path_;
};

}  // namespace ferry::net

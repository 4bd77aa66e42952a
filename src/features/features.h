// What this kernel, and the privileges of this process, allow. Probed once by trying, never guessed
// from a version number; passed along as a const value.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace ferry::features {

enum class Need {
    Always,  // Ferry can do nothing without it
    Live,    // `ferry migrate` needs it
    Some,    // only trees that use the facility need it
};

struct Feature {
    std::string name;     // CRIU's name for it where CRIU has one ("uffd", "mem_dirty_track")
    std::string purpose;  // what Ferry needs it for, in one line
    Need need = Need::Some;
    bool available = false;
    std::string reason = {};  // why not; empty when available
};

class KernelFeatures {
  public:
    explicit KernelFeatures(std::vector<Feature> all) : all_(std::move(all)) {}
    // In the order in which they are printed.
    [[nodiscard]] const std::vector<Feature>& all() const { return all_; }
    // nullptr: no such name.
    [[nodiscard]] const Feature* find(std::string_view name) const;
    // False for unknown names.
    [[nodiscard]] bool has(std::string_view name) const;
    // Everything that `need` asks for is there (Always, or Always and Live).
    [[nodiscard]] bool ready_for(Need need) const;

  private:
    std::vector<Feature> all_;
};

// Tries every facility. Forks short-lived children; leaves nothing behind. Under 100 ms. Call it
// while the process is single-threaded.
KernelFeatures probe();
// Tries only one; an unknown name is Error::Kind::Invalid.
Result<Feature> probe_one(std::string_view name);

// All names, in the order in which they are printed.
[[nodiscard]] std::vector<std::string> names();

// One line per feature: mark, name, purpose, and the reason where it is missing.
[[nodiscard]] std::string to_table(const KernelFeatures& features);

}  // namespace ferry::features

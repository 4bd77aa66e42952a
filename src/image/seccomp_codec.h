// seccomp.img: the seccomp filters of all tasks as chains, newest first, so that tasks which share
// filters name the same ones. Private to image/.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/error.h"
#include "image/proto/process.pb.h"
#include "image/store.h"
#include "model/process.h"

namespace ferry::image {

class SeccompTable {
  public:
    // Corrupt: a filter that is no sequence of instructions. Empty where there is no such file.
    static Result<SeccompTable> get(const ImageStore& from);
    Result<> put(ImageStore& into) const;

    // The number of the newest of these filters, which are added; nothing if there are none.
    std::optional<std::uint32_t> number_of(const std::vector<model::SeccompFilter>& filters);
    struct Filters {
        std::vector<model::SeccompFilter> chain;  // the oldest first
        // They are those of every thread of the process that says nothing of its own; CRIU writes
        // it so (SECCOMP_FILTER_FLAG_TSYNC).
        bool synchronize = false;
    };
    // The filters that a thread's record names.
    [[nodiscard]] Result<Filters> filters_of(const wire::ThreadCore& thread) const;

  private:
    struct Entry {
        model::SeccompFilter filter;
        std::optional<std::uint32_t> previous;
        bool operator==(const Entry&) const = default;
    };
    std::vector<Entry> entries_;
};

}  // namespace ferry::image

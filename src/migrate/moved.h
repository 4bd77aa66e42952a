// What a round of pre-copy moved.
#pragma once

#include <cstdint>

namespace ferry::migrate {

struct Moved {
    std::uint64_t pages = 0, bytes = 0, zero_pages = 0;
    Moved& operator+=(const Moved& o) {
        pages += o.pages;
        bytes += o.bytes;
        zero_pages += o.zero_pages;
        return *this;
    }
};

}  // namespace ferry::migrate

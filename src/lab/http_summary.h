// From what was measured of single requests and comments to the figures of a span of time. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lab/client_results.h"
#include "lab/site.h"

namespace ferry::lab {

// Of the requests that were due in [begin, end), in samples of `interval`; the samples go on until
// the last of them is over. The records are all of the load, those of other spans too, in any
// order.
HttpResult summarise(std::span<const HttpRecord> records, Moment begin, Moment end,
                     std::chrono::milliseconds interval);

// A comment that a client sent, and the site's answer if it came.
struct SentComment {
    std::string text;                              // different for every comment
    std::optional<std::uint64_t> acknowledged_id;  // as the site said it is kept
};
// `rows` are all that the database got since before the first was sent.
CommentCheck check_comments(std::span<const SentComment> sent, std::span<const SiteComment> rows);

}  // namespace ferry::lab

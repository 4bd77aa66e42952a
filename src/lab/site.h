// The lab's site (lab/site_bundle.h) as seen by whoever runs it: where it answers, who may log in,
// what its database holds.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "lab/world.h"

namespace ferry::lab {

// What fill.php puts in.
inline constexpr int kSiteUsers = 20;  // reader1 to readerN, password readerN-secret
inline constexpr int kSiteImages = 24;
inline constexpr int kSiteFirstPost = 1001;
inline constexpr int kSitePosts = 60;
inline constexpr std::uint16_t kSiteEchoPort = 7;

// Asks for the front page from the client's network until it comes. Error::Kind::Limit after the
// timeout, with what came instead.
Result<> wait_for_site(const Host& client, const std::string& ip,
                       std::chrono::milliseconds timeout);

struct SiteComment {
    std::uint64_t id = 0;
    std::string text;
};
// The comments in the database of a container, in order of their ids, by runc exec. `container` is
// runc's id on that host.
Result<std::vector<SiteComment>> site_comments(const Host& host, const std::string& container,
                                               std::uint64_t after_id = 0);

}  // namespace ferry::lab

// The lab's own service: a site of Magento's anatomy (nginx, PHP-FPM with OPcache, MariaDB,
// WordPress with its users, images, posts and comments) from Debian 12's packages in one OCI
// bundle. Built by mmdebstrap(1) from the recipe in lab/site/, which is part of this program, and
// kept in a cache under the recipe's hash.
#pragma once

#include <functional>
#include <string>

#include "base/error.h"
#include "lab/interrupt.h"

namespace ferry::lab {

struct SiteBuildOptions {
    std::string cache;                                    // "": default_cache()
    std::string mirror = "http://deb.debian.org/debian";  // of Debian's archive
    bool rebuild = false;                                 // even if the cache has it
};

struct SiteBundle {
    std::string directory;  // with config.json and rootfs
    bool was_cached = false;
    double seconds = 0;  // that building took
};

// $XDG_CACHE_HOME/ferry, or /var/cache/ferry.
std::string default_cache();

// Needs root, and about a minute where the cache does not have it. Whatever ends this leaves no
// process and no mount behind, and at most a directory that the next build replaces; a signal that
// the guard catches not even that. One build at a time in a cache: a second one waits. Errors are
// one line each: no network, no room, a package that fails.
Result<SiteBundle> build_site(const SiteBuildOptions& options, InterruptGuard& guard,
                              const std::function<void(const std::string&)>& progress = {});

}  // namespace ferry::lab

// The first look at many processes at a time: the kernel takes milliseconds to write the mappings
// of each.
#pragma once

#include <map>
#include <span>

#include "base/types.h"
#include "dump/preflight.h"
#include "dump/source_process.h"

namespace ferry::dump {

struct Newcomer {
    Pid pid;
    Pid parent;                                   // may be a newcomer before this one
    const SourceProcess* known_parent = nullptr;  // if it is none; outlives the call
};

// Parents before children. What cannot be opened is left out: whoever opens it by itself hears why.
// Uses a second thread where that pays.
std::map<Pid, SourceProcess> open_together(std::span<const Newcomer> newcomers, const Home& home);

}  // namespace ferry::dump

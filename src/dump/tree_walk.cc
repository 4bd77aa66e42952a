#include "dump/tree_walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <thread>

#include "os/description.h"

namespace ferry::dump {
namespace {

using Clock = std::chrono::steady_clock;

bool is_gone(const Error& error) {
    return error.kind() == Error::Kind::Gone;
}

// The children of all threads of a process; none if it has ended.
Result<std::vector<Pid>> children_of(Pid pid) {
    std::vector<Pid> children;
    const auto directory = proc::ProcessDirectory::open(pid);
    const auto threads = directory ? directory->threads() : fail(directory.error());
    if (!threads) {
        if (is_gone(threads.error())) return children;
        return fail(threads.error());
    }
    for (const Tid tid : *threads) {
        const auto text = directory->text(fmt::format("task/{}/children", tid));
        if (!text && is_gone(text.error())) continue;
        if (!text) return fail(text.error());
        const auto more = TRY(proc::parse_children(*text));
        children.insert(children.end(), more.begin(), more.end());
    }
    return children;
}

}  // namespace

Result<std::vector<Found>> walk(Pid root) {
    std::vector<Found> found = {{.pid = root, .parent = {}, .stat = {}}};
    for (std::size_t at = 0; at < found.size(); ++at) {
        const Pid pid = found[at].pid;
        const auto directory = proc::ProcessDirectory::open(pid);
        const auto stat = directory ? directory->stat() : fail(directory.error());
        if (!stat && is_gone(stat.error()) && at > 0) {
            found.erase(found.begin() + static_cast<std::ptrdiff_t>(at--));
            continue;
        }
        if (!stat) return fail(stat.error());
        found[at].stat = *stat;
        for (const Pid child : TRY(children_of(pid))) {
            found.push_back({.pid = child, .parent = pid, .stat = {}});
        }
    }
    if (found.front().stat.is_zombie()) {
        return fail(Error::gone(fmt::format("process {} has ended", root)));
    }
    return found;
}

Result<bool> shares_memory(Pid pid, Pid parent) {
    const auto order = os::compare_memory(pid, parent);
    if (!order && is_gone(order.error())) return false;
    return TRY(order) == std::strong_ordering::equal;
}

std::unexpected<Error> refuse_shared_memory(Pid pid, Pid parent) {
    return fail(Error::unsupported(fmt::format(
        "process {} shares the memory of its parent {}, which is not carried", pid, parent)));
}

Result<> leave_out_vforked(std::vector<Found>& found) {
    constexpr std::chrono::seconds kPatience{2};
    constexpr std::chrono::milliseconds kPause{1};
    const Clock::time_point deadline = Clock::now() + kPatience;
    std::vector<Pid> left_out;
    for (auto at = found.begin(); at != found.end();) {
        const auto [pid, parent, stat] = *at;
        const auto is_left_out = [&left_out](Pid known) {
            return std::ranges::find(left_out, known) != left_out.end();
        };
        const bool shares =
            parent.value != 0 && !stat.is_zombie() && TRY(shares_memory(pid, parent));
        if (!shares && !is_left_out(parent)) {
            ++at;
            continue;
        }
        while (shares && TRY(shares_memory(pid, parent))) {
            if (Clock::now() > deadline) return refuse_shared_memory(pid, parent);
            std::this_thread::sleep_for(kPause);
        }
        left_out.push_back(pid);
        at = found.erase(at);
    }
    return {};
}

bool has_ended(const Found& found) {
    const auto directory = proc::ProcessDirectory::open(found.pid);
    const auto stat = directory ? directory->stat() : fail(directory.error());
    return !stat || stat->is_ending() || stat->start_time != found.stat.start_time;
}

std::vector<Pid> pids_of(const std::vector<Found>& found) {
    std::vector<Pid> pids;
    for (const Found& process : found) pids.push_back(process.pid);
    return pids;
}

}  // namespace ferry::dump

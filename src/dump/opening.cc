#include "dump/opening.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <future>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace ferry::dump {
namespace {

class Opening {
  public:
    Opening(std::span<const Newcomer> newcomers, const Home& home)
        : newcomers_(newcomers), home_(&home) {
        for (std::size_t i = 0; i < newcomers.size(); ++i) {
            done_.push_back(ready_.emplace_back().get_future());
        }
    }

    // Takes one after the other until none is left; in any number of threads.
    void work() {
        for (std::size_t i = next_++; i < newcomers_.size(); i = next_++) {
            auto process = SourceProcess::open(newcomers_[i].pid, *home_, parent_of(i));
            if (process) opened_[i] = std::move(*process);
            ready_[i].set_value();
        }
    }
    // Once work() has ended everywhere.
    std::map<Pid, SourceProcess> take() {
        std::map<Pid, SourceProcess> processes;
        for (std::size_t i = 0; i < newcomers_.size(); ++i) {
            if (opened_[i]) processes.emplace(newcomers_[i].pid, std::move(*opened_[i]));
        }
        return processes;
    }

  private:
    // One that is on its way in another thread is waited for: it was taken before, and waits for
    // such ones only.
    const SourceProcess* parent_of(std::size_t i) {
        const Newcomer& child = newcomers_[i];
        const auto earlier = newcomers_.first(i);
        const auto at = std::ranges::find(earlier, child.parent, &Newcomer::pid);
        if (at == earlier.end()) return child.known_parent;
        const auto parent = static_cast<std::size_t>(at - earlier.begin());
        done_[parent].wait();
        return opened_[parent] ? &*opened_[parent] : nullptr;
    }

    std::span<const Newcomer> newcomers_;
    const Home* home_;
    std::vector<std::promise<void>> ready_;
    std::vector<std::shared_future<void>> done_;  // of each, for any thread
    std::vector<std::optional<SourceProcess>> opened_{newcomers_.size()};
    std::atomic<std::size_t> next_{0};
};

}  // namespace

std::map<Pid, SourceProcess> open_together(std::span<const Newcomer> newcomers, const Home& home) {
    Opening opening(newcomers, home);
    {
        std::optional<std::jthread> helper;
        if (newcomers.size() > 1) helper.emplace([&] { opening.work(); });
        opening.work();
    }
    return opening.take();
}

}  // namespace ferry::dump

#include "resources/semaphore_set.h"

#include <fmt/format.h>
#include <sys/ipc.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>

#include "os/fd.h"
#include "os/system_v.h"
#include "resources/system_v_object.h"

namespace ferry::resources {
namespace {

constexpr const char* kTable = "/proc/sysvipc/sem";
constexpr const char* kNextId = "/proc/sys/kernel/sem_next_id";
constexpr int kValueMax = 32767;  // SEMVMX, and the largest adjustment

sembuf operation(std::uint32_t number, int change, bool undo = false) {
    return {.sem_num = static_cast<unsigned short>(number),
            .sem_op = static_cast<short>(change),
            .sem_flg = static_cast<short>(IPC_NOWAIT | (undo ? SEM_UNDO : 0))};
}

// Operations on one set that fail in any case: with EAGAIN unless an adjustment is out of bounds.
class Attempt {
  public:
    explicit Attempt(const model::SemaphoreSet& set) : set_(set) {}

    // Passes if the adjustment is at most `bound`, which is not negative.
    void expect_at_most(std::uint32_t number, int bound) {
        add(number, kValueMax - set_.values[number]);
        add(number, bound - kValueMax, true);
        last_ = number;
    }
    // `bound` is at most -1.
    void expect_at_least(std::uint32_t number, int bound) {
        add(number, -set_.values[number]);
        add(number, kValueMax + 1 + bound, true);
        last_ = number;
    }
    // One more than a single operation can ask for.
    void expect_at_least_zero(std::uint32_t number) {
        expect_at_least(number, -1);
        add(number, -kValueMax);
        add(number, 1, true);
    }

    // True if all pass.
    Result<bool> make(trace::RemoteCalls& calls) {
        // By now the last semaphore is below its maximum, or about to be.
        add(last_, -kValueMax);
        add(last_, -kValueMax);
        TRY(calls.write_scratch(std::as_bytes(std::span(operations_))));
        const auto made = calls.call(SYS_semop, {static_cast<std::uint64_t>(set_.object.id),
                                                 calls.scratch().value, operations_.size()});
        if (!made && made.error().code() == EAGAIN) return true;
        if (!made && made.error().code() == ERANGE) return false;
        if (!made) return fail(made.error());
        return fail(Error::unsupported(
            fmt::format("semaphore set {} changed while it was looked at", set_.object.id)));
    }

    // Of expect_at_least_zero(), and of make().
    static constexpr std::size_t kEach = 4, kEnd = 2;

  private:
    void add(std::uint32_t number, int change, bool undo = false) {
        // 0 would wait until the value is 0.
        if (change != 0) operations_.push_back(operation(number, change, undo));
    }

    const model::SemaphoreSet& set_;
    std::vector<sembuf> operations_;
    std::uint32_t last_ = 0;
};

// The least value in [from, to) for which `passes` says yes, which it says from there on; `to` if
// for none.
template <class Passes>
Result<int> first_that_passes(int from, int to, Passes passes) {
    while (from < to) {
        const int middle = from + (to - from) / 2;
        if (TRY(passes(middle))) {
            to = middle;
        } else {
            from = middle + 1;
        }
    }
    return from;
}

Result<int> adjustment(trace::RemoteCalls& calls, const model::SemaphoreSet& set,
                       std::uint32_t number) {
    const int above = TRY(first_that_passes(0, kValueMax, [&](int bound) {
        Attempt attempt(set);
        attempt.expect_at_most(number, bound);
        return attempt.make(calls);
    }));
    if (above > 0) return above;
    Attempt attempt(set);
    attempt.expect_at_least_zero(number);
    if (TRY(attempt.make(calls))) return 0;
    const int below = TRY(first_that_passes(1, kValueMax + 1, [&](int bound) {
        Attempt further(set);
        further.expect_at_least(number, -bound);
        return further.make(calls);
    }));
    return -below;
}

Result<bool> owes_nothing(trace::RemoteCalls& calls, const model::SemaphoreSet& set,
                          std::uint32_t from, std::uint32_t to) {
    Attempt upper(set);
    Attempt lower(set);
    for (std::uint32_t number = from; number < to; ++number) {
        upper.expect_at_most(number, 0);
        lower.expect_at_least_zero(number);
    }
    return TRY(upper.make(calls)) && TRY(lower.make(calls));
}

Result<> ask_set(trace::RemoteCalls& calls, const model::SemaphoreSet& set,
                 std::uint64_t operations_max, std::vector<model::SemaphoreUndo>& into) {
    const std::size_t room = arch::BorrowedStack::kScratchBytes / sizeof(sembuf);
    const std::size_t fits = std::min<std::size_t>(operations_max, room);
    const auto step = static_cast<std::uint32_t>(
        fits <= Attempt::kEnd ? 1
                              : std::max<std::size_t>(1, (fits - Attempt::kEnd) / Attempt::kEach));
    const auto count = static_cast<std::uint32_t>(set.values.size());
    for (std::uint32_t from = 0; from < count; from += step) {
        const std::uint32_t to = std::min(count, from + step);
        if (TRY(owes_nothing(calls, set, from, to))) continue;
        for (std::uint32_t number = from; number < to; ++number) {
            const int owed = TRY(adjustment(calls, set, number));
            if (owed != 0) {
                into.push_back({.set = set.object.id, .number = number, .adjustment = owed});
            }
        }
    }
    return {};
}

Result<> make_one(const model::SemaphoreSet& set) {
    TRY(make_object(set.object, kNextId, [&](int flags) {
        return os::semget(set.object.key, set.values.size(), flags);
    }));
    return os::set_semaphore_values(set.object.id, set.values);
}

}  // namespace

Result<std::vector<model::SemaphoreSet>> read_semaphores() {
    std::vector<model::SemaphoreSet> sets;
    for (const proc::SystemVSemaphores& found :
         TRY(proc::parse_system_v_semaphores(TRY(os::read_file(kTable))))) {
        sets.push_back({.object = to_model(found.object),
                        .values = TRY(os::semaphore_values(found.object.id, found.count))});
    }
    return sets;
}

Result<> make_semaphores(std::span<const model::SemaphoreSet> sets) {
    for (const model::SemaphoreSet& set : sets) {
        TRY(with_context(make_one(set), fmt::format("semaphore set {}", set.object.id)));
    }
    return {};
}

Result<> settle_semaphores(std::span<const model::SemaphoreSet> sets) {
    for (const model::SemaphoreSet& set : sets) {
        TRY(os::set_semaphore_owner(set.object.id, owner_of(set.object)));
    }
    return {};
}

Result<std::vector<model::SemaphoreUndo>> ask_undo(trace::RemoteCalls& calls,
                                                   std::span<const model::SemaphoreSet> sets,
                                                   std::uint64_t operations_max) {
    std::vector<model::SemaphoreUndo> owed;
    for (const model::SemaphoreSet& set : sets) {
        const Result<> asked = ask_set(calls, set, operations_max, owed);
        if (!asked && asked.error().code() == EACCES) continue;
        TRY(with_context(asked,
                         fmt::format("asking for adjustments of semaphore set {}", set.object.id)));
    }
    return owed;
}

std::vector<std::vector<sembuf>> undo_operations(std::uint16_t value,
                                                 const model::SemaphoreUndo& undo) {
    // So large that the value fits one way or the other.
    constexpr int kStep = kValueMax / 2;
    std::vector<std::vector<sembuf>> calls;
    const int sign = undo.adjustment < 0 ? -1 : 1;
    for (int left = sign * undo.adjustment; left > 0;) {
        const int step = sign * std::min(left, kStep);
        std::vector<sembuf> pair = {operation(undo.number, step),
                                    operation(undo.number, -step, true)};
        const int first = value + step;
        if (first < 0 || first > kValueMax) std::ranges::swap(pair[0], pair[1]);
        calls.push_back(std::move(pair));
        left -= sign * step;
    }
    return calls;
}

}  // namespace ferry::resources

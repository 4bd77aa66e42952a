#include "os/message_custody.h"

#include <fmt/format.h>
#include <mqueue.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <span>
#include <string_view>
#include <thread>

#include "base/limits.h"

namespace ferry::os {
namespace {

// What the kernel allows anybody (ipc/mqueue.c).
constexpr std::size_t kMessagesMax = 65536;          // HARD_MSGMAX
constexpr std::size_t kMessageBytesMax = 16u << 20;  // HARD_MSGSIZEMAX

// "QSIZE:129        NOTIFY:2    SIGNO:0    NOTIFY_PID:8260": what read(2) of a queue gives.
bool read_bytes_queued(int queue, std::uint64_t& bytes) noexcept {
    constexpr std::string_view kKey = "QSIZE:";
    std::array<char, 128> text = {};
    const ssize_t size = ::pread(queue, text.data(), text.size(), 0);
    const std::string_view line(text.data(), size < 0 ? 0 : static_cast<std::size_t>(size));
    if (!line.starts_with(kKey)) return false;
    const char* end = line.data() + line.size();
    return std::from_chars(line.data() + kKey.size(), end, bytes).ec == std::errc();
}

}  // namespace

// Every step is noted before the next one begins, so that whoever finds it knows all but whether
// one more message has been taken, or sent.
struct MessageCustody::Table {
    struct Entry {
        std::atomic<std::uint64_t> bytes;
        unsigned priority;
    };
    std::atomic<int> queue;            // -1: nothing is in custody
    std::atomic<std::uint64_t> count;  // of messages that the queue had
    std::atomic<std::uint64_t> bytes;  // in them
    std::atomic<std::uint64_t> taken, sent;
    std::array<Entry, kMessagesMax> entries;
    std::array<char, limits::kQueueBytesMax + kMessageBytesMax> content;  // one after the other

    [[nodiscard]] std::uint64_t offset_of(std::uint64_t index) const noexcept {
        std::uint64_t offset = 0;
        for (std::uint64_t i = 0; i < index; ++i) offset += entries[i].bytes.load();
        return offset;
    }

    // EAGAIN, which is no failure: there is none left.
    int take_all() noexcept {
        std::uint64_t offset = offset_of(taken.load());
        while (taken.load() < count.load()) {
            Entry& entry = entries[taken.load()];
            const ssize_t size = ::mq_receive(queue.load(), content.data() + offset,
                                              kMessageBytesMax, &entry.priority);
            if (size < 0 && errno == EINTR) continue;
            if (size < 0) return errno == EAGAIN ? 0 : errno;
            entry.bytes.store(static_cast<std::uint64_t>(size));
            taken.fetch_add(1);
            offset += static_cast<std::uint64_t>(size);
        }
        return 0;
    }

    // Stays at it: memory for a message may be short for a moment.
    int send_all() noexcept {
        constexpr int kAttempts = 1000;
        constexpr std::chrono::milliseconds kPause{1};
        std::uint64_t offset = offset_of(sent.load());
        int attempts = 0;
        while (sent.load() < taken.load()) {
            const Entry& entry = entries[sent.load()];
            const std::uint64_t size = entry.bytes.load();
            if (::mq_send(queue.load(), content.data() + offset, size, entry.priority) == 0) {
                sent.fetch_add(1);
                offset += size;
                continue;
            }
            if (++attempts == kAttempts) return errno;
            std::this_thread::sleep_for(kPause);
        }
        queue.store(-1);
        return 0;
    }

    // The kernel has written content and priority, but the size was not noted any more.
    void find_unnoted(std::uint64_t left) noexcept {
        if (sent.load() != 0 || taken.load() + left >= count.load()) return;
        const std::uint64_t held = offset_of(taken.load());
        std::uint64_t queued = 0;
        if (!read_bytes_queued(queue.load(), queued) || held + queued > bytes.load()) return;
        entries[taken.load()].bytes.store(bytes.load() - held - queued);
        taken.fetch_add(1);
    }
};

Result<MessageCustody> MessageCustody::create() {
    Mapping memory = TRY(Mapping::map(sizeof(Table), PROT_READ | PROT_WRITE,
                                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE));
    reinterpret_cast<Table*>(memory.data())->queue.store(-1);
    return MessageCustody(std::move(memory));
}

MessageCustody::Table& MessageCustody::table() const {
    return *reinterpret_cast<Table*>(memory_.data());
}

std::vector<QueuedMessage> MessageCustody::held() const {
    std::vector<QueuedMessage> messages;
    std::uint64_t offset = 0;
    for (std::uint64_t i = 0; i < table().taken.load(); ++i) {
        const std::uint64_t size = table().entries[i].bytes.load();
        const auto content = std::as_bytes(std::span(table().content)).subspan(offset, size);
        messages.push_back(
            {.priority = table().entries[i].priority, .content = {content.begin(), content.end()}});
        offset += size;
    }
    return messages;
}

Result<std::vector<QueuedMessage>> MessageCustody::copy(int queue) {
    mq_attr attributes = {};
    if (::mq_getattr(queue, &attributes) != 0) return fail(Error::system(errno, "mq_getattr"));
    std::uint64_t bytes = 0;
    if (!read_bytes_queued(queue, bytes)) return fail(Error::corrupt("the text of a queue"));
    const auto count = static_cast<std::uint64_t>(attributes.mq_curmsgs);
    if (bytes > limits::kQueueBytesMax || count > kMessagesMax) {
        return fail(Error::limit(fmt::format("it holds more than {} bytes or {} messages",
                                             limits::kQueueBytesMax, kMessagesMax)));
    }
    Table& table = this->table();
    table.count.store(count);
    table.bytes.store(bytes);
    table.taken.store(0);
    table.sent.store(0);
    table.queue.store(queue);
    const int not_taken = table.take_all();
    const int not_sent = table.send_all();
    if (not_sent != 0) return fail(Error::system(not_sent, "mq_send: messages are lost"));
    if (not_taken != 0) return fail(Error::system(not_taken, "mq_receive"));
    return held();
}

void MessageCustody::put_back() noexcept {
    Table& table = this->table();
    mq_attr now = {};
    if (table.queue.load() < 0 || ::mq_getattr(table.queue.load(), &now) != 0) return;
    const auto there = static_cast<std::uint64_t>(now.mq_curmsgs);
    if (table.taken.load() < table.count.load()) {
        table.find_unnoted(there);
        table.take_all();
    } else if (there > table.sent.load()) {
        table.sent.fetch_add(1);
    }
    table.send_all();
}

}  // namespace ferry::os

#include "lab/system_snapshot.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <thread>

#include "lab/sample_source.h"

namespace ferry::lab {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kToolTimeout{60000};
constexpr milliseconds kRetry{100};

using Facts = std::map<std::string, int>;

void add(Facts& facts, std::string_view category, std::string_view fact) {
    if (!fact.empty()) ++facts[fmt::format("{}: {}", category, fact)];
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
}

std::vector<std::string> words_of(const std::string& line) {
    std::vector<std::string> words;
    std::istringstream stream(line);
    for (std::string word; stream >> word;) words.push_back(word);
    return words;
}

bool is_number(const std::string& text) {
    return !text.empty() &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

Result<std::vector<std::string>> process_directories(const Host& host) {
    const std::string proc = host.path("/proc");
    std::vector<std::string> found;
    for (const std::string& entry : TRY(os::list_directory(os::kCwd, proc))) {
        if (is_number(entry)) found.push_back(fmt::format("{}/{}", proc, entry));
    }
    return found;
}

// "socket:[123]" and "anon_inode:[eventfd]" differ in numbers that mean nothing.
std::string kind_of_descriptor(const std::string& target) {
    const std::size_t bracket = target.find(":[");
    if (bracket != std::string::npos && is_number(target.substr(bracket + 2, 1))) {
        return target.substr(0, bracket);
    }
    if (target.starts_with("/proc/")) return "/proc";
    return target;
}

Result<> add_processes(const Host& host, Facts& facts) {
    for (const std::string& directory : TRY(process_directories(host))) {
        const Result<std::string> comm = os::read_file(directory + "/comm");
        if (!comm) continue;  // It ended meanwhile.
        const std::string name = comm->substr(0, comm->find('\n'));
        add(facts, "process",
            fmt::format("{} {}", directory.substr(directory.rfind('/') + 1), name));
        if (name != "ferryd") continue;
        const auto descriptors = os::list_directory(os::kCwd, directory + "/fd");
        if (!descriptors) continue;
        for (const std::string& fd : *descriptors) {
            const auto target = os::readlinkat(os::kCwd, directory + "/fd/" + fd);
            if (target) add(facts, "descriptor of ferryd", kind_of_descriptor(*target));
        }
    }
    return {};
}

Result<> add_mounts(const Host& host, Facts& facts) {
    const std::string text = TRY(os::read_file(fmt::format("/proc/{}/mountinfo", host.init_pid())));
    for (const std::string& line : lines_of(text)) {
        const std::vector<std::string> words = words_of(line);
        if (words.size() > 5) add(facts, "mount", fmt::format("{} on {}", words[3], words[4]));
    }
    return {};
}

Result<> add_output(const Host& host, Facts& facts, const char* category,
                    std::vector<std::string> arguments) {
    const std::string text = TRY(host.run_checked(std::move(arguments), kToolTimeout));
    for (const std::string& line : lines_of(text)) add(facts, category, line);
    return {};
}

Result<> add_network(const Host& host, Facts& facts) {
    TRY(add_output(host, facts, "firewall", {"nft", "list", "ruleset"}));
    TRY(add_output(host, facts, "link", {"ip", "-br", "link"}));
    TRY(add_output(host, facts, "address", {"ip", "-br", "address"}));
    TRY(add_output(host, facts, "route", {"ip", "route", "show", "table", "all"}));
    TRY(add_output(host, facts, "route", {"ip", "-6", "route", "show", "table", "all"}));
    return {};
}

// Connections that only wait for their end are not counted: the kernel drops them by itself.
constexpr std::string_view kTimeWait = "06";

Result<> add_sockets(const Host& host, Facts& facts) {
    const std::string net = fmt::format("/proc/{}/net/", host.init_pid());
    for (const char* table : {"tcp", "tcp6", "udp", "udp6", "raw", "raw6"}) {
        for (const std::string& line : lines_of(TRY(os::read_file(net + table)))) {
            const std::vector<std::string> words = words_of(line);
            if (words.size() < 4 || words[0] == "sl" || words[3] == kTimeWait) continue;
            add(facts, fmt::format("{} socket", table),
                fmt::format("{} {} {}", words[1], words[2], words[3]));
        }
    }
    for (const std::string& line : lines_of(TRY(os::read_file(net + "unix")))) {
        const std::vector<std::string> words = words_of(line);
        if (words.size() > 7) add(facts, "unix socket", words[7]);
    }
    for (const std::string& line : lines_of(TRY(os::read_file(net + "packet")))) {
        const std::vector<std::string> words = words_of(line);
        if (words.size() > 4 && words[0] != "sk") {
            add(facts, "packet socket", fmt::format("{} on {}", words[3], words[4]));
        }
    }
    return {};
}

void add_files(const Host& host, Facts& facts) {
    namespace fs = std::filesystem;
    for (const char* directory : {kFerryDirectory, kSharedDirectory, "/dev/shm"}) {
        const std::string root = host.path(directory);
        std::error_code error;
        fs::recursive_directory_iterator files(root, fs::directory_options::skip_permission_denied,
                                               error);
        for (; !error && files != fs::recursive_directory_iterator(); files.increment(error)) {
            const std::string name = files->path().string().substr(root.size());
            // Others use /dev/shm too; what is ours is named so.
            const bool shared = directory[1] == 'd';
            if (shared && !name.starts_with("/ferry")) {
                files.disable_recursion_pending();
                continue;
            }
            add(facts, "file", directory + name);
        }
    }
}

}  // namespace

Result<SystemSnapshot> SystemSnapshot::take(const Host& host) {
    SystemSnapshot snapshot;
    TRY(add_processes(host, snapshot.facts_));
    TRY(add_mounts(host, snapshot.facts_));
    TRY(add_network(host, snapshot.facts_));
    TRY(add_sockets(host, snapshot.facts_));
    add_files(host, snapshot.facts_);
    return snapshot;
}

std::vector<std::string> SystemSnapshot::differences_to(const SystemSnapshot& later) const {
    std::vector<std::string> lines;
    const auto describe = [&](char sign, const std::string& fact, int more) {
        lines.push_back(more == 1 ? fmt::format("{} {}", sign, fact)
                                  : fmt::format("{} {} x{}", sign, fact, more));
    };
    for (const auto& [fact, count] : facts_) {
        const auto found = later.facts_.find(fact);
        const int then = found == later.facts_.end() ? 0 : found->second;
        if (then < count) describe('-', fact, count - then);
    }
    for (const auto& [fact, count] : later.facts_) {
        const auto found = facts_.find(fact);
        const int before = found == facts_.end() ? 0 : found->second;
        if (before < count) describe('+', fact, count - before);
    }
    return lines;
}

Result<std::vector<std::string>> lasting_differences(
    const Host& host, const SystemSnapshot& before,
    const std::function<bool(const std::string&)>& expected, milliseconds settle) {
    const auto end = std::chrono::steady_clock::now() + settle;
    for (;;) {
        std::vector<std::string> lines = before.differences_to(TRY(SystemSnapshot::take(host)));
        if (expected) std::erase_if(lines, expected);
        if (lines.empty() || std::chrono::steady_clock::now() > end) return lines;
        std::this_thread::sleep_for(kRetry);
    }
}

Result<std::uint64_t> open_files(const Host& host) {
    std::uint64_t count = 0;
    for (const std::string& directory : TRY(process_directories(host))) {
        const auto descriptors = os::list_directory(os::kCwd, directory + "/fd");
        if (descriptors) count += descriptors->size();
    }
    return count;
}

Result<std::uint64_t> memory_in_use(const Host& host) {
    std::uint64_t bytes = 0;
    for (const std::string& directory : TRY(process_directories(host))) {
        bytes += proportional_memory(directory);
    }
    return bytes;
}

}  // namespace ferry::lab

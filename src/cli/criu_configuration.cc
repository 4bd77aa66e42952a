#include "cli/criu_configuration.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "proc/text.h"

namespace ferry::cli {
namespace {

constexpr std::string_view kBlanks = " \t\r";

std::string_view trimmed(std::string_view text) {
    const std::size_t begin = std::min(text.find_first_not_of(kBlanks), text.size());
    return text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

// They say how CRIU is to do what Ferry does in its own way.
constexpr std::array<std::string_view, 8> kWithoutMeaning = {
    "display-stats",  "evasive-devices", "force-irmap",    "link-remap",
    "manage-cgroups", "network-lock",    "skip-in-flight", "weak-sysctls"};

// "1048576", "512K", "2M", "1G", as CRIU has sizes.
Result<std::uint64_t> parse_size(std::string_view text) {
    std::string_view digits = text;
    std::uint64_t unit = 1;
    for (const auto& [letter, factor] : {std::pair{'K', 10}, {'M', 20}, {'G', 30}}) {
        if (!digits.ends_with(letter)) continue;
        digits.remove_suffix(1);
        unit = std::uint64_t{1} << factor;
    }
    const auto number = proc::to_number<std::uint32_t>(digits);
    if (!number) return fail(Error::invalid(fmt::format("\"{}\" is no size", text)));
    return *number * unit;
}

Result<> apply(std::string_view name, std::string_view value, RpcOptions& options) {
    const std::pair<std::string_view, bool*> flags[] = {
        {"tcp-established", &options.tcp_established}, {"file-locks", &options.file_locks},
        {"ext-unix-sk", &options.external_unix},       {"shell-job", &options.shell_job},
        {"leave-running", &options.leave_running},
    };
    const auto* flag = std::ranges::find(flags, name, &std::pair<std::string_view, bool*>::first);
    if (flag != std::end(flags)) {
        *flag->second = true;
        return {};
    }
    if (name == "ghost-limit") {
        options.ghost_bytes_max = TRY(parse_size(value));
        return {};
    }
    if (std::ranges::find(kWithoutMeaning, name) != kWithoutMeaning.end()) return {};
    return fail(Error::unsupported(fmt::format("option {} is not supported by Ferry", name)));
}

}  // namespace

Result<> apply_configuration(std::string_view text, RpcOptions& options) {
    for (std::string_view rest = text; !rest.empty();) {
        std::string_view line = proc::take_until(rest, '\n');
        line = trimmed(line.substr(0, line.find('#')));
        if (line.empty()) continue;
        const std::size_t end = std::min(line.find_first_of(" \t="), line.size());
        const std::string_view value = trimmed(line.substr(std::min(end + 1, line.size())));
        TRY(apply(line.substr(0, end), value, options));
    }
    return {};
}

}  // namespace ferry::cli

#include "agent/group_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

namespace ferry::agent::words {
namespace {

using Json = nlohmann::json;
using migrate::GroupVerdict;
using migrate::MemberRound;

constexpr std::string_view kPass = "pass", kAgain = "again";

// What follows the word and a space.
Result<Json> json_after(std::string_view word, std::string_view text) {
    if (!text.starts_with(word)) return fail(Error::corrupt(fmt::format("group: {}", text)));
    text.remove_prefix(word.size());
    Json json = Json::parse(text, nullptr, false);
    if (!json.is_object()) return fail(Error::corrupt(fmt::format("group: {} {}", word, text)));
    return json;
}

template <class Read>
auto reading(Read read) -> Result<decltype(read())> {
    try {
        return read();
    } catch (const Json::exception& error) {
        return fail(Error::corrupt(fmt::format("group: {}", error.what())));
    }
}

}  // namespace

std::string ready(const std::optional<MemberRound>& round) {
    if (!round) return std::string(kReady);
    const Json json = {
        {"bytes_sent", round->bytes_sent},         {"duration", round->duration.count()},
        {"bytes_dirty", round->bytes_dirty},       {"dirty_rate", round->dirty_rate},
        {"fixed_cost", round->fixed_cost.count()}, {"can_be_slower", round->can_be_slower}};
    return fmt::format("{} {}", kReady, json.dump());
}

Result<std::optional<MemberRound>> round_of(std::string_view text) {
    if (text == kReady) return std::nullopt;
    const Json json = TRY(json_after(kReady, text));
    return reading([&]() -> std::optional<MemberRound> {
        return MemberRound{.bytes_sent = json.at("bytes_sent"),
                           .duration = pages::Seconds(json.at("duration").get<double>()),
                           .bytes_dirty = json.at("bytes_dirty"),
                           .dirty_rate = json.at("dirty_rate"),
                           .fixed_cost = pages::Seconds(json.at("fixed_cost").get<double>()),
                           .can_be_slower = json.at("can_be_slower")};
    });
}

std::string with_time(std::string_view word, std::chrono::milliseconds time) {
    return fmt::format("{} {}", word, time.count());
}

std::chrono::milliseconds time_of(std::string_view word) {
    constexpr int kMost = 10'000;
    int time = 0;
    const std::size_t blank = std::min(word.find(' '), word.size());
    const std::string_view number = word.substr(std::min(blank + 1, word.size()));
    std::from_chars(number.data(), number.data() + number.size(), time);
    return std::chrono::milliseconds(std::clamp(time, 0, kMost));
}

std::string of(const GroupVerdict& verdict) {
    const Json json = {{"slow", verdict.next == GroupVerdict::Next::Slow},
                       {"is_judged", verdict.is_judged},
                       {"rule", verdict.rule},
                       {"fits", verdict.fits},
                       {"expected_downtime", verdict.expected_downtime.count()},
                       {"bandwidth", verdict.bandwidth},
                       {"dirty_rate", verdict.dirty_rate}};
    return fmt::format("{} {}", verdict.next == GroupVerdict::Next::Go ? kPass : kAgain,
                       json.dump());
}

Result<GroupVerdict> verdict_of(std::string_view word) {
    const bool passes = word.starts_with(kPass);
    const Json json = TRY(json_after(passes ? kPass : kAgain, word));
    return reading([&] {
        using Next = GroupVerdict::Next;
        const Next again = json.at("slow").get<bool>() ? Next::Slow : Next::Again;
        return GroupVerdict{
            .next = passes ? Next::Go : again,
            .is_judged = json.at("is_judged"),
            .rule = json.at("rule"),
            .fits = json.at("fits"),
            .expected_downtime = pages::Seconds(json.at("expected_downtime").get<double>()),
            .bandwidth = json.at("bandwidth"),
            .dirty_rate = json.at("dirty_rate")};
    });
}

}  // namespace ferry::agent::words

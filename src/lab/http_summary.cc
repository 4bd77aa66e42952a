#include "lab/http_summary.h"

#include <algorithm>
#include <unordered_map>

namespace ferry::lab {
namespace {

using Milliseconds = std::chrono::duration<double, std::milli>;

double delay_ms(const HttpRecord& record) {
    return Milliseconds(record.done - record.due).count();
}

// In which requests were under way and none was answered. Of the records in order of their ends.
double longest_silence(const std::vector<HttpRecord>& by_end) {
    // The earliest moment at which a request was due that ends here or later.
    std::vector<Moment> earliest_due(by_end.size());
    Moment earliest = Moment::max();
    for (std::size_t i = by_end.size(); i-- > 0;) {
        earliest = std::min(earliest, by_end[i].due);
        earliest_due[i] = earliest;
    }
    double longest = 0;
    Moment last_answer = Moment::min();
    for (std::size_t i = 0; i < by_end.size(); ++i) {
        if (!by_end[i].answered && i + 1 < by_end.size()) continue;
        const Moment since = std::max(last_answer, earliest_due[i]);
        longest = std::max(longest, Milliseconds(by_end[i].done - since).count());
        last_answer = by_end[i].done;
    }
    return longest;
}

// The value below which this share of all lies; 0 of none.
double quantile(std::vector<double> values, double share) {
    if (values.empty()) return 0;
    const auto index = static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size()));
    std::nth_element(values.begin(), values.begin() + index, values.end());
    return values[static_cast<std::size_t>(index)];
}

// What requests of each kind take where nothing disturbs them. The lower quartile, since half of
// all may have fallen into a standstill.
std::array<double, kRequestKinds> usual_delays(std::span<const HttpRecord> records) {
    std::array<std::vector<double>, kRequestKinds> delays;
    for (const HttpRecord& record : records) {
        if (!record.answered) continue;
        delays[static_cast<std::size_t>(record.kind)].push_back(delay_ms(record));
    }
    std::array<double, kRequestKinds> usual = {};
    for (std::size_t kind = 0; kind < kRequestKinds; ++kind) {
        usual[kind] = quantile(delays[kind], 0.25);
    }
    return usual;
}

void finish(HttpSample& sample, const std::vector<double>& delays) {
    if (delays.empty()) return;
    sample.median_ms = quantile(delays, 0.5);
    sample.longest_ms = *std::max_element(delays.begin(), delays.end());
}

std::vector<HttpSample> samples_of(const std::vector<HttpRecord>& by_end, Moment begin, Moment end,
                                   std::chrono::milliseconds interval) {
    const auto index = [&](Moment moment) {
        return static_cast<std::size_t>((moment - begin) / interval);
    };
    const Moment last = by_end.empty() ? end : std::max(end, by_end.back().done);
    std::vector<HttpSample> samples(index(last) + 1);
    std::vector<std::vector<double>> delays(samples.size());
    for (std::size_t i = 0; i < samples.size(); ++i) {
        samples[i].begin = begin + interval * static_cast<std::int64_t>(i);
        samples[i].seconds = std::chrono::duration<double>(interval).count();
    }
    for (const HttpRecord& record : by_end) {
        ++samples[index(record.due)].due;
        HttpSample& sample = samples[index(record.done)];
        if (record.pending) continue;
        ++(record.answered ? sample.answered : sample.failed);
        sample.broken_connections += record.broke ? 1 : 0;
        sample.retransmissions += record.retransmissions;
        sample.bytes += record.bytes;
        if (record.answered) delays[index(record.done)].push_back(delay_ms(record));
    }
    for (std::size_t i = 0; i < samples.size(); ++i) finish(samples[i], delays[i]);
    return samples;
}

}  // namespace

HttpResult summarise(std::span<const HttpRecord> records, Moment begin, Moment end,
                     std::chrono::milliseconds interval) {
    std::vector<HttpRecord> by_end;
    for (const HttpRecord& record : records) {
        if (record.due >= begin && record.due < end) by_end.push_back(record);
    }
    std::sort(by_end.begin(), by_end.end(),
              [](const HttpRecord& a, const HttpRecord& b) { return a.done < b.done; });
    const std::array<double, kRequestKinds> usual = usual_delays(records);
    HttpResult result;
    result.begin = begin;
    result.seconds = std::chrono::duration<double>(end - begin).count();
    result.due = by_end.size();
    for (const HttpRecord& record : by_end) {
        const auto kind = static_cast<std::size_t>(record.kind);
        if (record.answered) {
            ++result.answered[kind];
            result.delays[kind].add(record.done - record.due);
        } else {
            ++(record.pending ? result.pending : result.failed);
        }
        result.broken_connections += record.broke ? 1 : 0;
        result.retransmissions += record.retransmissions;
        result.bytes += record.bytes;
        result.longest_delay_ms = std::max(result.longest_delay_ms, delay_ms(record));
        result.longest_pause_ms = std::max(result.longest_pause_ms, delay_ms(record) - usual[kind]);
    }
    result.longest_silence_ms = longest_silence(by_end);
    result.samples = samples_of(by_end, begin, end, interval);
    return result;
}

CommentCheck check_comments(std::span<const SentComment> sent, std::span<const SiteComment> rows) {
    struct Seen {
        std::uint64_t rows = 0;
        bool has_acknowledged_id = false;
    };
    std::unordered_map<std::string, Seen> seen;
    std::unordered_map<std::string, std::optional<std::uint64_t>> acknowledged;
    for (const SentComment& comment : sent) acknowledged[comment.text] = comment.acknowledged_id;
    CommentCheck check;
    for (const SiteComment& row : rows) {
        const auto ours = acknowledged.find(row.text);
        if (ours == acknowledged.end()) {
            ++check.foreign;
            continue;
        }
        Seen& comment = seen[row.text];
        ++comment.rows;
        if (ours->second == row.id) comment.has_acknowledged_id = true;
    }
    for (const auto& [text, id] : acknowledged) {
        const Seen comment = seen[text];
        if (comment.rows > 1) ++check.doubled;
        if (!id) {
            if (comment.rows > 0) ++check.unacknowledged;
            continue;
        }
        ++check.acknowledged;
        if (!comment.has_acknowledged_id) ++check.lost;
        if (comment.has_acknowledged_id && comment.rows == 1) ++check.found_once;
    }
    return check;
}

}  // namespace ferry::lab

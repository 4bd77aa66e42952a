#include "proc/mounts.h"

#include <fmt/format.h>

#include "base/limits.h"
#include "proc/text.h"

namespace ferry::proc {
namespace {

// mangle(): blank, tab, newline, backslash and number sign are three octal digits.
std::string unescape(std::string_view text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto code = text[i] == '\\' && i + 4 <= text.size()
                              ? to_number<unsigned char>(text.substr(i + 1, 3), 8)
                              : std::nullopt;
        plain += code ? static_cast<char>(*code) : text[i];
        if (code) i += 3;
    }
    return plain;
}

bool read_line(std::string_view line, Mount& mount) {
    const auto id = to_number<int>(take_word(line));
    const auto parent = to_number<int>(take_word(line));
    std::string_view device = take_word(line);
    const auto major = to_number<std::uint32_t>(take_until(device, ':'));
    const auto minor = to_number<std::uint32_t>(device);
    if (!id || !parent || !major || !minor) return false;
    mount.id = *id;
    mount.parent = *parent;
    mount.device_major = *major;
    mount.device_minor = *minor;
    mount.root = unescape(take_word(line));
    mount.point = unescape(take_word(line));
    mount.options = take_word(line);
    for (std::string_view word; (word = take_word(line)) != "-";) {
        if (word.empty()) return false;
        if (!mount.propagation.empty()) mount.propagation += ' ';
        mount.propagation += word;
    }
    mount.type = unescape(take_word(line));
    mount.source = unescape(take_word(line));
    mount.super_options = take_word(line);
    // A file system may call its source nothing at all.
    if (mount.super_options.empty()) mount.super_options.swap(mount.source);
    return mount.point.starts_with('/') && !mount.type.empty() && !mount.super_options.empty();
}

}  // namespace

bool Mount::has_option(std::string_view option) const {
    std::string_view rest = options;
    while (!rest.empty()) {
        if (take_until(rest, ',') == option) return true;
    }
    return false;
}

Result<std::vector<Mount>> parse_mounts(std::string_view text) {
    std::vector<Mount> mounts;
    while (!text.empty()) {
        const std::string_view line = take_until(text, '\n');
        if (mounts.size() == limits::kMountsMax) {
            return fail(Error::limit(fmt::format("more than {} mounts", limits::kMountsMax)));
        }
        if (!read_line(line, mounts.emplace_back())) {
            return fail(
                Error::corrupt(fmt::format("mountinfo: cannot read \"{}\"", line.substr(0, 200))));
        }
    }
    return mounts;
}

}  // namespace ferry::proc

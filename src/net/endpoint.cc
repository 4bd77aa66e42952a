#include "net/endpoint.h"

#include <fmt/format.h>

#include <charconv>

namespace ferry::net {
namespace {

Result<std::uint16_t> parse_port(std::string_view text, std::string_view whole) {
    std::uint16_t port = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (code != std::errc() || end != text.data() + text.size() || text.empty()) {
        return fail(Error::invalid(fmt::format("'{}' is not HOST[:PORT]", whole)));
    }
    return port;
}

// What may stand in a name or an address; control characters and separators may not.
bool is_host(std::string_view host) {
    if (host.empty() || host.size() > 253) return false;
    for (const char c : host) {
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        const bool other =
            (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_' || c == ':' || c == '%';
        if (!letter && !other) return false;
    }
    return true;
}

}  // namespace

Result<Endpoint> Endpoint::parse(std::string_view text, std::uint16_t default_port) {
    Endpoint endpoint{.host = std::string(text), .port = default_port};
    if (text.starts_with('[')) {
        const auto close = text.find(']');
        if (close == std::string_view::npos) {
            return fail(Error::invalid(fmt::format("'{}' lacks a ']'", text)));
        }
        endpoint.host = text.substr(1, close - 1);
        const std::string_view rest = text.substr(close + 1);
        if (!rest.empty() && rest[0] != ':') {
            return fail(Error::invalid(fmt::format("'{}' is not [ADDRESS]:PORT", text)));
        }
        if (!rest.empty()) endpoint.port = TRY(parse_port(rest.substr(1), text));
    } else if (const auto colon = text.find(':');
               colon != std::string_view::npos &&
               text.find(':', colon + 1) == std::string_view::npos) {
        endpoint.host = text.substr(0, colon);
        endpoint.port = TRY(parse_port(text.substr(colon + 1), text));
    }
    if (!is_host(endpoint.host)) {
        return fail(Error::invalid(fmt::format("'{}' is not HOST[:PORT]", text)));
    }
    return endpoint;
}

std::string Endpoint::to_string() const {
    if (host.find(':') != std::string::npos) return fmt::format("[{}]:{}", host, port);
    return fmt::format("{}:{}", host, port);
}

}  // namespace ferry::net

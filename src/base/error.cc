#include "base/error.h"

#include <cstring>

namespace ferry {

std::string errno_name(int code) {
    const char* name = ::strerrorname_np(code);
    return name != nullptr ? name : "errno " + std::to_string(code);
}

Error Error::system(int code, std::string message, std::source_location place) {
    Error error = make(Kind::System, std::move(message) + ": " + errno_name(code), place);
    error.code_ = code;
    return error;
}

Error Error::make(Kind kind, std::string message, std::source_location place) {
    Error error;
    error.kind_ = kind;
    error.message_ = std::move(message);
    error.place_ = place;
    return error;
}

std::string Error::describe() const {
    std::string_view file = place_.file_name();
    if (const auto slash = file.rfind('/'); slash != std::string_view::npos) {
        file.remove_prefix(slash + 1);
    }
    return message_ + " (" + std::string(file) + ":" + std::to_string(place_.line()) + ")";
}

Error Error::context(std::string_view what) && {
    message_ = std::string(what) + ": " + message_;
    return std::move(*this);
}

}  // namespace ferry

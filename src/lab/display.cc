#include "lab/display.h"

#include <unistd.h>

#include <cstdio>

namespace ferry::lab {
namespace {

// Erase to the end of the line (ECMA-48 EL).
constexpr const char* kBackAndErase = "\r\033[K";
constexpr int kColumns = 100;

}  // namespace

Display::Display() : terminal_(::isatty(STDOUT_FILENO) == 1) {}

void Display::progress(const std::string& text) {
    if (!terminal_) return;
    std::printf("%s%.*s", kBackAndErase, kColumns, text.c_str());
    std::fflush(stdout);
    shown_ = true;
}

void Display::print(const std::string& text) {
    clear();
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
}

void Display::clear() {
    if (!shown_) return;
    std::printf("%s", kBackAndErase);
    std::fflush(stdout);
    shown_ = false;
}

}  // namespace ferry::lab

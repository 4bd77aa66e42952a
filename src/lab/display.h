// The last line of a terminal as a place for progress. On anything else only whole lines appear.
#pragma once

#include <string>

namespace ferry::lab {

class Display {
  public:
    Display();
    ~Display() { clear(); }
    Display(const Display&) = delete;
    Display& operator=(const Display&) = delete;
    // Replaces the progress line; nothing where stdout is not a terminal.
    void progress(const std::string& text);
    // A line, or several, that stays.
    void print(const std::string& text);

  private:
    void clear();
    bool terminal_;
    bool shown_ = false;
};

}  // namespace ferry::lab

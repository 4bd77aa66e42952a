// Runs a function at the end of the scope unless dismissed. Name the variable after its purpose:
//   Cleanup unlock_network = [&] { ... };
#pragma once

#include <utility>

namespace ferry {

template <class F>
class [[nodiscard]] Cleanup {
  public:
    // NOLINTNEXTLINE(google-explicit-constructor): the `Cleanup x = [] {}` form is the point.
    Cleanup(F f) : function_(std::move(f)) {}
    Cleanup(const Cleanup&) = delete;
    Cleanup& operator=(const Cleanup&) = delete;
    Cleanup(Cleanup&&) = delete;
    Cleanup& operator=(Cleanup&&) = delete;
    ~Cleanup() {
        if (armed_) function_();
    }
    void dismiss() { armed_ = false; }

  private:
    F function_;
    bool armed_ = true;
};

}  // namespace ferry

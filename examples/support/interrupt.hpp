/// \file
/// Ctrl-C asks a long run to stop at the next good place instead of killing it.
#pragma once

#include <csignal>

namespace easy_diffusion::examples {

/// While one of these lives, SIGINT and SIGTERM only set a flag. A second SIGINT ends the program at once.
class InterruptGuard {
 public:
  InterruptGuard() {
    flag() = 0;
    before_int_ = std::signal(SIGINT, &InterruptGuard::handle);
    before_term_ = std::signal(SIGTERM, &InterruptGuard::handle);
  }
  ~InterruptGuard() {
    std::signal(SIGINT, before_int_);
    std::signal(SIGTERM, before_term_);
  }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  [[nodiscard]] static bool interrupted() noexcept { return flag() != 0; }

 private:
  static volatile std::sig_atomic_t& flag() noexcept {
    static volatile std::sig_atomic_t value = 0;
    return value;
  }
  static void handle(int signal) {
    if (signal == SIGINT && flag() != 0) {
      std::signal(SIGINT, SIG_DFL);
      std::raise(SIGINT);
    }
    flag() = 1;
  }

  void (*before_int_)(int);
  void (*before_term_)(int);
};

}  // namespace easy_diffusion::examples

/// \file
/// Signals that ask a program to end: a long run stops at the next good place instead of being killed.
#pragma once

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <string>

#include <unistd.h>

#include "easy_diffusion/core/error.hpp"

namespace easy_diffusion::examples {

/// Thrown where a run ends because a signal asked for it. `run_main` prints the text and ends with 128 plus the signal's
/// number, as a shell has it.
class Interrupted : public Error {
 public:
  using Error::Error;
};

/// While one of these lives, Ctrl-C (SIGINT), SIGTERM and SIGHUP (the terminal is gone) only set a flag. A second Ctrl-C,
/// which may be meant for the first, says what a third does: it ends the program at once. A signal that was ignored when the
/// program was started (by nohup, or by a script for what runs in its background) stays ignored. Guards may be nested.
class InterruptGuard {
 public:
  InterruptGuard() {
    if (depth()++ > 0) return;
    received() = 0;
    presses() = 0;
    for (std::size_t i = 0; i < signals.size(); ++i) {
      struct sigaction& before = before_[i];
      if (::sigaction(signals[i], nullptr, &before) != 0 || before.sa_handler == SIG_IGN) continue;
      struct sigaction action {};
      action.sa_handler = &InterruptGuard::handle;
      action.sa_flags = SA_RESTART;  // reading and writing files go on
      sigemptyset(&action.sa_mask);
      set_[i] = ::sigaction(signals[i], &action, nullptr) == 0;
    }
  }
  ~InterruptGuard() {
    --depth();
    for (std::size_t i = 0; i < signals.size(); ++i)
      if (set_[i]) ::sigaction(signals[i], &before_[i], nullptr);
  }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  [[nodiscard]] static bool interrupted() noexcept { return received() != 0; }

  /// \throw Interrupted after a signal: for a denoiser or a score, which samplers ask many times within a step
  static void check() {
    if (interrupted()) throw Interrupted("interrupted; nothing was written");
  }

  /// Of a program that the signal has ended. \pre interrupted()
  [[nodiscard]] static int exit_code() noexcept { return 128 + received(); }

 private:
  static constexpr std::array signals{SIGINT, SIGTERM, SIGHUP};
  static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may touch nothing else");

  static std::atomic<int>& received() noexcept {
    static std::atomic<int> number{0};
    return number;
  }
  static std::atomic<int>& presses() noexcept {
    static std::atomic<int> count{0};
    return count;
  }
  static int& depth() noexcept {
    static int count = 0;
    return count;
  }

  static void handle(int signal) {
    const int error = errno;
    int none = 0;
    received().compare_exchange_strong(none, signal);
    if (signal == SIGINT) {
      const int press = ++presses();
      if (press == 2) {
        constexpr char text[] = "\nends as soon as what is done is kept; a third Ctrl-C ends at once and keeps nothing more\n";
        static_cast<void>(!::write(STDERR_FILENO, text, sizeof text - 1));
      } else if (press > 2) {
        std::signal(SIGINT, SIG_DFL);
        std::raise(SIGINT);
      }
    }
    errno = error;
  }

  std::array<struct sigaction, signals.size()> before_{};
  std::array<bool, signals.size()> set_{};
};

}  // namespace easy_diffusion::examples

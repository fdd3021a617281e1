/// \file
/// How far a long run has come: a bar on a terminal, plain lines anywhere else.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>

#include <unistd.h>

namespace easy_diffusion::examples {

/// Seconds since it was made.
class Stopwatch {
 public:
  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Shows label, share done, step, what the caller adds, pictures a second, time left. On the standard error, so that
/// results can be piped.
class Progress {
 public:
  /// \param unit of what is done, in the plural
  explicit Progress(std::string label, std::string unit = "pictures")
      : label_(std::move(label)),
        unit_(std::move(unit)),
        terminal_(isatty(STDERR_FILENO) == 1),
        shown_at_(terminal_ ? -1 : 0) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  /// \param done    share of the work, 0 to 1
  /// \param text    such as "step 12/250  loss 43.2"
  /// \param samples units done since the start
  void update(double done, const std::string& text, double samples) {
    const double now = watch_.seconds();
    // A terminal is redrawn ten times a second; a log gets a line every ten seconds.
    if (now - shown_at_ < (terminal_ ? 0.1 : 10.0) && !(done >= 1 && terminal_)) return;
    shown_at_ = now;
    char rest[96];
    std::snprintf(rest, sizeof rest, "%.0f %s/s  %s left", samples / std::max(now, 1e-9), unit_.c_str(),
                  clock(done > 0 ? now * (1 - done) / done : 0).c_str());
    const int percent = static_cast<int>(std::floor(100 * std::clamp(done, 0.0, 1.0)));
    if (terminal_) {
      // Wrapping is off for the line, so that a narrow terminal cuts it instead of scrolling.
      constexpr int width = 24;
      const int filled = percent * width / 100;
      std::string bar;
      for (int i = 0; i < width; ++i) bar += i < filled ? "█" : "░";
      std::fprintf(stderr, "\r\033[K\033[?7l%s %s %3d%%  %s  %s\033[?7h", label_.c_str(), bar.c_str(), percent, text.c_str(), rest);
    } else {
      std::fprintf(stderr, "%s %d%%  %s  %s\n", label_.c_str(), percent, text.c_str(), rest);
    }
    std::fflush(stderr);
  }

  /// Takes the bar away, so that a line can be printed; the next update brings it back.
  void clear() {
    if (terminal_ && shown_at_ > 0) std::fputs("\r\033[K", stderr);
    std::fflush(stderr);
  }

  [[nodiscard]] double seconds() const { return watch_.seconds(); }

 private:
  static std::string clock(double seconds) {
    const auto whole = static_cast<long long>(std::lround(std::clamp(seconds, 0.0, 359999.0)));
    char text[32];
    if (whole >= 3600)
      std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
    else
      std::snprintf(text, sizeof text, "%lld:%02lld", whole / 60, whole % 60);
    return text;
  }

  std::string label_, unit_;
  bool terminal_;
  Stopwatch watch_;
  double shown_at_;
};

}  // namespace easy_diffusion::examples

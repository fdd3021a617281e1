/// \file
/// The log of the loss: a CSV file with one row a training step, that a resumed run continues without a seam.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/io/atomic_file.hpp"

namespace easy_diffusion::train {

struct LossRow {
  std::int64_t step = 0;  ///< counted from 1
  std::int64_t epoch = 0;
  double loss = 0;
  double learning_rate = 0;
};

/// Columns step, epoch, loss, learning_rate.
class LossLog {
 public:
  /// Opens the log for appending. Rows after step `keep_steps` (written after the checkpoint that is resumed) are cut.
  /// \throw IoError naming the file and the reason
  LossLog(const std::filesystem::path& path, std::int64_t keep_steps) : path_(path) {
    std::string text = "step,epoch,loss,learning_rate\n";
    for (const LossRow& row : read(path))
      if (row.step <= keep_steps) text += to_text(row);
    io::write_file(path, text);
    file_.reset(std::fopen(path.c_str(), "a"));
    if (!file_) fail();
  }

  void append(const LossRow& row) {
    if (std::fputs(to_text(row).c_str(), file_.get()) < 0) fail();
  }

  /// To the disk. \throw IoError
  void flush() {
    if (std::fflush(file_.get()) != 0 || ::fsync(::fileno(file_.get())) != 0) fail();
  }

  /// The rows of a log; those that cannot be read (a line cut by a crash) end it. No file: no rows.
  [[nodiscard]] static std::vector<LossRow> read(const std::filesystem::path& path) {
    std::vector<LossRow> rows;
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "r"), &std::fclose);
    if (!file) return rows;
    char line[256];
    while (std::fgets(line, sizeof line, file.get()) != nullptr) {
      if (rows.empty() && std::strncmp(line, "step,", 5) == 0) continue;
      LossRow row;
      long long step = 0;
      long long epoch = 0;
      if (std::strchr(line, '\n') == nullptr ||
          std::sscanf(line, "%lld,%lld,%lf,%lf", &step, &epoch, &row.loss, &row.learning_rate) != 4)
        break;
      row.step = step;
      row.epoch = epoch;
      rows.push_back(row);
    }
    return rows;
  }

 private:
  static std::string to_text(const LossRow& row) {
    char text[160];
    std::snprintf(text, sizeof text, "%lld,%lld,%.17g,%.17g\n", static_cast<long long>(row.step),
                  static_cast<long long>(row.epoch), row.loss, row.learning_rate);
    return text;
  }

  [[noreturn]] void fail() const { throw IoError(path_.string() + ": " + std::strerror(errno)); }

  std::filesystem::path path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_{nullptr, &std::fclose};
};

}  // namespace easy_diffusion::train

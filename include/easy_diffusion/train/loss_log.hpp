/// \file
/// The log of the loss: a CSV file with one row a training step, that a resumed run continues without a seam.
#pragma once

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/number_text.hpp"
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
    std::array<char, 256> line;
    while (std::fgets(line.data(), static_cast<int>(line.size()), file.get()) != nullptr) {
      const std::string_view text(line.data());
      if (rows.empty() && text.starts_with("step,")) continue;
      const std::optional<LossRow> row = to_row(text);
      if (!row) break;
      rows.push_back(*row);
    }
    return rows;
  }

 private:
  static std::string to_text(const LossRow& row) {
    return std::to_string(row.step) + "," + std::to_string(row.epoch) + "," + number_text(row.loss, 17) + "," +
           number_text(row.learning_rate, 17) + "\n";
  }

  /// Nothing for anything but one whole line of four numbers.
  static std::optional<LossRow> to_row(std::string_view line) {
    if (!line.ends_with('\n')) return std::nullopt;
    line.remove_suffix(line.ends_with("\r\n") ? 2 : 1);
    std::array<std::string_view, 4> fields;
    for (std::size_t i = 0; i < fields.size(); ++i) {
      const std::size_t comma = line.find(',');
      if ((comma == std::string_view::npos) != (i + 1 == fields.size())) return std::nullopt;
      fields[i] = line.substr(0, comma);
      if (comma != std::string_view::npos) line.remove_prefix(comma + 1);
    }
    const auto step = parse_number<std::int64_t>(fields[0]);
    const auto epoch = parse_number<std::int64_t>(fields[1]);
    const auto loss = parse_number<double>(fields[2]);
    const auto learning_rate = parse_number<double>(fields[3]);
    if (!step || !epoch || !loss || !learning_rate) return std::nullopt;
    return LossRow{*step, *epoch, *loss, *learning_rate};
  }

  [[noreturn]] void fail() const { throw IoError(path_.string() + ": " + std::strerror(errno)); }

  std::filesystem::path path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_{nullptr, &std::fclose};
};

}  // namespace easy_diffusion::train

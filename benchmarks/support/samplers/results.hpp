/// \file
/// The measured numbers as a file of comma-separated values, to which an interrupted run goes on adding.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/number_text.hpp"
#include "easy_diffusion/io/atomic_file.hpp"
#include "easy_diffusion/io/detail/file.hpp"
#include "easy_diffusion/io/text.hpp"

namespace easy_diffusion::bench {

/// One number that was measured.
struct ResultRow {
  std::string set;          ///< of data: mixture_2d, mixture_64d, pictures
  std::string metric;       ///< sliced_wasserstein, kl, frechet, accuracy
  std::string sampler;      ///< a contender's name, or `exact`: real data in its place
  std::int64_t target = 0;  ///< evaluations allowed; 0 of real data
  std::string spacing = "-";
  std::int64_t steps = 0;
  double evaluations = 0;    ///< made for a sample, on average
  std::int64_t samples = 0;  ///< that the number was computed of
  std::uint64_t seed = 0;
  std::string model = "exact";  ///< which denoiser
  double value = 0;             ///< not finite: the samples were not
  double seconds = 0;           ///< that sampling took

  /// Whether they answer the same question.
  [[nodiscard]] bool same_cell(const ResultRow& other) const {
    return set == other.set && metric == other.metric && sampler == other.sampler && target == other.target;
  }
  /// Whether the answer was found in the same way. Numbers found in different ways must not stand in one table.
  [[nodiscard]] bool same_settings(const ResultRow& other) const {
    return spacing == other.spacing && samples == other.samples && seed == other.seed && model == other.model;
  }
};

namespace detail {

inline std::string csv_number(double value) {
  if (!std::isfinite(value)) return "nan";
  return number_text(value);
}

inline std::string csv_line(const ResultRow& row) {
  return row.set + "," + row.metric + "," + row.sampler + "," + std::to_string(row.target) + "," + row.spacing + "," +
         std::to_string(row.steps) + "," + csv_number(row.evaluations) + "," + std::to_string(row.samples) + "," +
         std::to_string(row.seed) + "," + row.model + "," + csv_number(row.value) + "," + csv_number(row.seconds);
}

template <class T>
T read_field(const std::string& text, const std::string& where) {
  T value{};
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  if (read.ec != std::errc{} || read.ptr != text.data() + text.size())
    throw FormatError(where + ": expected a number, got '" + text + "'");
  return value;
}

}  // namespace detail

/// Rows in the order in which they were measured, each on the disk as soon as it is added.
class Results {
 public:
  static constexpr std::string_view head =
      "set,metric,sampler,target,spacing,steps,evaluations,samples,seed,model,value,seconds";

  /// Reads the file where there is one. \throw IoError; FormatError naming file and line
  explicit Results(std::filesystem::path path) : path_(std::move(path)) {
    std::error_code error;
    if (!std::filesystem::exists(path_, error) && !error) return;
    const io::detail::MappedFile mapped(path_);
    std::istringstream file(std::string(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size()));
    std::string line;
    for (int number = 1; std::getline(file, line); ++number) {
      const std::string where = path_.string() + ", line " + std::to_string(number);
      if (number == 1) {
        if (line != head) throw FormatError(where + ": expected '" + std::string(head) + "', got '" + line + "'");
        continue;
      }
      std::vector<std::string> f(1);
      for (const char c : line)
        if (c == ',')
          f.emplace_back();
        else
          f.back().push_back(c);
      if (f.size() != 12) throw FormatError(where + ": expected 12 fields, got " + std::to_string(f.size()));
      // Names are written as they are read: none may need quotes.
      for (const std::size_t name : {0, 1, 2, 4, 9})
        if (io::csv_field(f[name]) != f[name] && f[name] != "-")
          throw FormatError(where + ": expected a plain name, got '" + f[name] + "'");
      rows_.push_back({f[0], f[1], f[2], detail::read_field<std::int64_t>(f[3], where), f[4],
                       detail::read_field<std::int64_t>(f[5], where), detail::read_field<double>(f[6], where),
                       detail::read_field<std::int64_t>(f[7], where), detail::read_field<std::uint64_t>(f[8], where),
                       f[9], detail::read_field<double>(f[10], where), detail::read_field<double>(f[11], where)});
    }
  }

  [[nodiscard]] const std::vector<ResultRow>& rows() const noexcept { return rows_; }

  /// Whether the row's cell is measured already. \throw ValueError where that was done in another way
  [[nodiscard]] bool has(const ResultRow& row) const {
    const auto found = std::find_if(rows_.begin(), rows_.end(), [&](const ResultRow& r) { return r.same_cell(row); });
    if (found == rows_.end()) return false;
    if (!found->same_settings(row))
      throw ValueError(path_.string() + ": has " + described(*found) + ", asked for is " + described(row) +
                       "; another --out keeps both, --overwrite starts anew");
    return true;
  }

  /// \throw IoError, and the file before stays
  void add(const ResultRow& row) {
    rows_.push_back(row);
    std::string text(head);
    for (const ResultRow& each : rows_) text += "\n" + detail::csv_line(each);
    io::write_file(path_, text + "\n");
  }

  /// The value of a cell, where it is measured.
  [[nodiscard]] std::optional<ResultRow> find(std::string_view set, std::string_view metric, std::string_view sampler,
                                              std::int64_t target) const {
    for (const ResultRow& row : rows_)
      if (row.set == set && row.metric == metric && row.sampler == sampler && row.target == target) return row;
    return std::nullopt;
  }

 private:
  static std::string described(const ResultRow& row) {
    return row.set + " " + row.sampler + " with " + std::to_string(row.target) + " evaluations, spacing " +
           row.spacing + ", " + std::to_string(row.samples) + " samples, seed " + std::to_string(row.seed) +
           ", model " + row.model;
  }

  std::filesystem::path path_;
  std::vector<ResultRow> rows_;
};

}  // namespace easy_diffusion::bench

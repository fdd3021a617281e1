/// \file
/// Text in columns.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "easy_diffusion/io/text.hpp"

namespace easy_diffusion::examples {

/// Rows of cells, printed in columns as wide as their widest cell.
class Table {
 public:
  /// \param left number of columns that begin at the left; the others end at the right
  Table(std::vector<std::string> head, std::size_t left) : left_(left), has_head_(!head[0].empty()) {
    rows_.push_back(std::move(head));
  }

  void add(std::vector<std::string> row) {
    for (std::string& cell : row) cell = io::printable(cell);
    rows_.push_back(std::move(row));
  }

  void print() const {
    std::vector<std::size_t> width(rows_[0].size());
    for (const auto& row : rows_)
      for (std::size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], row[c].size());
    for (std::size_t r = has_head_ ? 0 : 1; r < rows_.size(); ++r) {
      std::string line;
      for (std::size_t c = 0; c < rows_[r].size(); ++c) {
        const std::string space(width[c] - rows_[r][c].size(), ' ');
        line += (c == 0 ? "" : "  ") + (c < left_ ? rows_[r][c] + space : space + rows_[r][c]);
      }
      while (!line.empty() && line.back() == ' ') line.pop_back();
      std::printf("%s\n", line.c_str());
    }
  }

 private:
  std::size_t left_;
  bool has_head_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace easy_diffusion::examples

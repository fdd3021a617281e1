/// \file
/// Frechet distance between sets of features.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <Eigen/Dense>

#include "easy_diffusion/core/error.hpp"
#include "support/metrics/sample_set.hpp"

namespace easy_diffusion::bench {

/// Mean and covariance of a set of features.
struct FeatureStatistics {
  Eigen::VectorXd mean;
  Eigen::MatrixXd covariance;  ///< over count - 1
  std::int64_t count = 0;
};

/// \param features one behind the other, each of `dimension` numbers
/// \throw ShapeError for fewer than two or a number that does not fit, ValueError for one that is not finite
template <class T>
[[nodiscard]] FeatureStatistics feature_statistics(std::span<const T> features, std::size_t dimension) {
  const std::int64_t count = sample_count("feature statistics", features, dimension, 2);
  using Rows = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Eigen::MatrixXd x =
      Eigen::Map<const Rows>(features.data(), count, static_cast<Eigen::Index>(dimension)).template cast<double>();
  FeatureStatistics result;
  result.count = count;
  result.mean = x.colwise().mean().transpose();
  x.rowwise() -= result.mean.transpose();
  result.covariance = x.transpose() * x / static_cast<double>(count - 1);
  return result;
}

namespace detail {

/// Eigenvalues that rounding has made negative count as zero.
inline Eigen::VectorXd roots_of_eigenvalues(const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>& solver) {
  return solver.eigenvalues().cwiseMax(0).cwiseSqrt();
}

}  // namespace detail

/// Squared Frechet distance |m_a - m_b|^2 + tr(A + B - 2 (A B)^(1/2)) between normal distributions with these moments, the
/// distance W2 between them \cite dowson_1982_frechet \cite heusel_2017_ttur. The trace of the root is taken of the
/// symmetric A^(1/2) B A^(1/2), which has the same eigenvalues as A B. Moments estimated of few features make it too large:
/// compare only sets of equal size.
/// \throw ShapeError for different dimensions
[[nodiscard]] inline double frechet_distance(const FeatureStatistics& a, const FeatureStatistics& b) {
  if (a.mean.size() != b.mean.size())
    throw ShapeError("Frechet distance: expected features of " + std::to_string(a.mean.size()) + " numbers, got " +
                     std::to_string(b.mean.size()));
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> of_a(a.covariance);
  const Eigen::MatrixXd root =
      of_a.eigenvectors() * detail::roots_of_eigenvalues(of_a).asDiagonal() * of_a.eigenvectors().transpose();
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> of_product(root * b.covariance * root, Eigen::EigenvaluesOnly);
  return (a.mean - b.mean).squaredNorm() + a.covariance.trace() + b.covariance.trace() -
         2 * detail::roots_of_eigenvalues(of_product).sum();
}

}  // namespace easy_diffusion::bench

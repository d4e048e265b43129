// Times of equal calls, and when there are enough of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace fx2ait {

/// Times in microseconds. More are wanted until the middle half of them lies within 1% of the median and
/// they have taken an eighth of the budget, or all of it; `fewest` are wanted in any case.
class Samples {
 public:
  Samples(std::size_t fewest, float budget) : fewest_(fewest), budget_(budget) {}

  void add(float time) {
    times_.insert(std::upper_bound(times_.begin(), times_.end(), time), time);
    spent_ += time;
  }
  float median() const { return times_[times_.size() / 2]; }
  bool enough() const {
    const std::size_t count = times_.size();
    if (count < fewest_ || spent_ < budget_ / 8) return false;
    const float spread = times_[count - 1 - count / 4] - times_[count / 4];
    return spent_ >= budget_ || spread <= 0.01f * median();
  }

 private:
  std::size_t fewest_;
  float budget_;
  float spent_ = 0;
  std::vector<float> times_;  // ascending
};

}  // namespace fx2ait

// SmallVector: a vector that keeps its first N elements inside itself, so that the usual short list
// costs no allocation.
//
// For trivially copyable elements: token ids, block ids. It has what std::vector has, as far as it
// is used here, and converts to std::span. Growing moves the elements: pointers into it are then
// void, as are those into a SmallVector that is moved. Not thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <span>
#include <type_traits>

#include "base/check.h"

namespace trireme {

template <typename T, uint32_t N>
class SmallVector {
  static_assert(std::is_trivially_copyable_v<T> && N > 0);

 public:
  using value_type = T;
  using iterator = T*;
  using const_iterator = const T*;

  SmallVector() {}
  SmallVector(std::initializer_list<T> values) { assign(values.begin(), values.end()); }
  explicit SmallVector(std::span<const T> values) { assign(values.begin(), values.end()); }
  template <std::input_iterator Iterator>
  SmallVector(Iterator first, Iterator last) {
    assign(first, last);
  }
  SmallVector(const SmallVector& other) { assign(other.begin(), other.end()); }
  SmallVector(SmallVector&& other) noexcept { steal(other); }
  ~SmallVector() { release(); }

  SmallVector& operator=(const SmallVector& other) {
    if (this != &other) assign(other.begin(), other.end());
    return *this;
  }
  SmallVector& operator=(SmallVector&& other) noexcept {
    if (this != &other) {
      release();
      steal(other);
    }
    return *this;
  }
  SmallVector& operator=(std::initializer_list<T> values) {
    assign(values.begin(), values.end());
    return *this;
  }

  SmallVector& operator=(std::span<const T> values) {
    assign(values.begin(), values.end());
    return *this;
  }

  template <std::input_iterator Iterator>
  void assign(Iterator first, Iterator last) {
    clear();
    for (; first != last; ++first) push_back(*first);
  }
  void assign(size_t n, T value) {
    clear();
    while (size_ < n) push_back(value);
  }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* data() { return on_heap() ? heap_ : inside_; }
  const T* data() const { return on_heap() ? heap_ : inside_; }
  iterator begin() { return data(); }
  iterator end() { return data() + size_; }
  const_iterator begin() const { return data(); }
  const_iterator end() const { return data() + size_; }
  T& operator[](size_t i) { return data()[i]; }
  const T& operator[](size_t i) const { return data()[i]; }
  T& front() { return (*this)[0]; }
  const T& front() const { return (*this)[0]; }
  T& back() { return (*this)[size_ - 1]; }
  const T& back() const { return (*this)[size_ - 1]; }

  void clear() { size_ = 0; }
  void push_back(T value) {
    if (size_ == capacity_) grow(size_t{capacity_} + 1);
    data()[size_++] = value;
  }
  void resize(size_t n) {
    if (n > capacity_) grow(n);
    for (size_t i = size_; i < n; ++i) data()[i] = T();
    size_ = static_cast<uint32_t>(n);
  }

  friend bool operator==(const SmallVector& a, const SmallVector& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }

 private:
  bool on_heap() const { return capacity_ > N; }

  void grow(size_t at_least) {
    const size_t capacity = std::max<size_t>(at_least, size_t{capacity_} * 2);
    CHECK_LE(capacity, size_t{UINT32_MAX});
    T* const bigger = new T[capacity];
    std::copy_n(data(), size_, bigger);
    release();
    heap_ = bigger;
    capacity_ = static_cast<uint32_t>(capacity);
  }
  void release() {
    if (on_heap()) delete[] heap_;
    capacity_ = N;
  }
  void steal(SmallVector& other) {
    capacity_ = other.capacity_;
    size_ = other.size_;
    if (other.on_heap()) {
      heap_ = other.heap_;
    } else {
      std::copy_n(other.inside_, size_, inside_);
    }
    other.capacity_ = N;
    other.size_ = 0;
  }

  union {
    T inside_[N];
    T* heap_;
  };
  uint32_t size_ = 0;
  uint32_t capacity_ = N;
};

}  // namespace trireme

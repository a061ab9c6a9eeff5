/* Functions of single values for loops over voxels: polynomials in float32, which vectorise where
   calls of the C library do not. Errors are the largest found over the range given, by the tests. */
#ifndef MEDSSL_INTENSITY_H
#define MEDSSL_INTENSITY_H

#include "loops.h"

/* GCC halves vectors of 512 bits by itself, for processors older than most that have them. */
#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("prefer-vector-width=512")
#endif

union bits {
  float value;
  int32_t whole;
};

/* 2^x for -126 <= x <= 126, which x is held to; relative error 2e-7. */
CORE float exp2_near(float x) {
  x = x < -126.0f ? -126.0f : x;
  x = x > 126.0f ? 126.0f : x;
  /* Above 0, where what C cuts off is what rounding takes; a branch would stop the vectoriser. */
  const int32_t whole = (int32_t)(x + 126.5f) - 126;
  const float t = x - (float)whole;
  float p = 1.53458081e-4f;
  p = p * t + 1.33999309e-3f;
  p = p * t + 9.61848907e-3f;
  p = p * t + 5.55032864e-2f;
  p = p * t + 2.40226464e-1f;
  p = p * t + 6.93147182e-1f;
  p = p * t + 1.0f;
  const union bits power = {.whole = (whole + 127) << 23};
  return p * power.value;
}

/* log2(x) for normal x > 0; error 2e-7 of the result, absolute where that is below 1. */
CORE float log2_near(float x) {
  const union bits given = {.value = x};
  /* x = 2^whole (1 + t), 1 + t from the root of a half to that of two. */
  const int32_t whole = (given.whole - 0x3f3504f3) >> 23;
  const union bits mantissa = {.whole = given.whole - whole * (1 << 23)};
  const float t = mantissa.value - 1.0f;
  float p = -1.09948061e-1f;
  p = p * t + 1.86174139e-1f;
  p = p * t - 1.91062972e-1f;
  p = p * t + 2.04600766e-1f;
  p = p * t - 2.39617392e-1f;
  p = p * t + 2.88567394e-1f;
  p = p * t - 3.60696644e-1f;
  p = p * t + 4.80898231e-1f;
  p = p * t - 7.21347332e-1f;
  p = p * t + 1.44269502f;
  return (float)whole + p * t;
}

#endif

/* Changes of values voxel by voxel. `image` is float32, contiguous, and changed in place. */
#include "intensity.h"

#include <string.h>

#define FLAT 1e-6f

/* value = held to low ... high, times slope, plus offset. */
EXPORTED void medssl_line(float *restrict image, int64_t n, float low, float high, float slope,
                          float offset) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float v = image[i];
    v = v < low ? low : v;
    v = v > high ? high : v;
    image[i] = v * slope + offset;
  }
}

/* Held to background ... high where `valid`, background elsewhere. */
EXPORTED void medssl_bounded(float *restrict image, const uint8_t *restrict valid, int64_t n,
                             float background, float high) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float v = image[i];
    v = v < background ? background : v;
    v = v > high ? high : v;
    image[i] = valid[i] ? v : background;
  }
}

CORE float highest_signal(const float *restrict image, int64_t n, float background) {
  float most = background + FLAT;
#pragma omp simd reduction(max : most)
  for (int64_t i = 0; i < n; i++) most = image[i] > most ? image[i] : most;
  return most - background;
}

/* The share of the highest signal to a power. */
EXPORTED void medssl_gamma(float *restrict image, int64_t n, float background, float power) {
  const float top = highest_signal(image, n, background), share = 1.0f / top;
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    const float signal = image[i] - background;
    /* What is next to nothing is taken as such: a logarithm wants numbers above 0. */
    const float at = signal * share, some = at > 1e-30f ? at : 1e-30f;
    const float raised = exp2_near(power * log2_near(some)) * top;
    image[i] = (at > 1e-30f ? raised : 0.0f) + background;
  }
}

#define CHUNK 512

/* A piecewise linear curve of the share of the highest signal: `slopes` (knots), of even stretches;
   a sum of hinges, each of which adds the change of slope at its knot. */
EXPORTED void medssl_histogram(float *restrict image, int64_t n, float background,
                               const float *restrict slopes, int64_t knots) {
  const float top = highest_signal(image, n, background), step = top / (float)knots;
  float sums[CHUNK];
  for (int64_t start = 0; start < n; start += CHUNK) {
    float *restrict values = image + start;
    const int count = (int)LEAST(n - start, CHUNK);
    memset(sums, 0, sizeof sums);
    for (int64_t k = 0; k < knots; k++) {
      const float change = slopes[k] - (k ? slopes[k - 1] : 0.0f);
      const float knot = background + (float)k * step;
#pragma omp simd
      for (int i = 0; i < count; i++) {
        const float beyond = values[i] - knot;
        sums[i] += change * (beyond > 0.0f ? beyond : 0.0f);
      }
    }
#pragma omp simd
    for (int i = 0; i < count; i++) values[i] = sums[i] + background;
  }
}

/* The magnitude of the signal above the background. */
EXPORTED void medssl_magnitude(float *restrict image, int64_t n, float background) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    const float signal = image[i] - background;
    image[i] = (signal < 0.0f ? -signal : signal) + background;
  }
}

/* Some of what `other` is short of the image, added to it. */
EXPORTED void medssl_add_difference(float *restrict image, const float *restrict other, int64_t n,
                                    float share) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) image[i] += share * (image[i] - other[i]);
}

/* The signal of (channels, D, H, W) times 2 to a polynomial: the sum of c[i, j, k] z^i y^j x^k, where
   z, y, x run over the centres of the voxels in -1 ... 1.

   shape: channels, D, H, W; c: (4, 4, 4). */
EXPORTED void medssl_field(float *restrict image, const int32_t shape[4], const float c[64],
                           float background) {
  const int channels = shape[0], depth = shape[1], height = shape[2], width = shape[3];
  const float step = 2.0f / (float)width;
  for (int plane = 0; plane < channels * depth; plane++) {
    const float z = ((float)(plane % depth) + 0.5f) * (2.0f / (float)depth) - 1.0f;
    float flat[16];
    for (int t = 0; t < 16; t++) flat[t] = ((c[48 + t] * z + c[32 + t]) * z + c[16 + t]) * z + c[t];
    for (int h = 0; h < height; h++) {
      const float y = ((float)h + 0.5f) * (2.0f / (float)height) - 1.0f;
      float line[4];
      for (int t = 0; t < 4; t++)
        line[t] = ((flat[12 + t] * y + flat[8 + t]) * y + flat[4 + t]) * y + flat[t];
      float *restrict row = image + ((int64_t)plane * height + h) * width;
#pragma omp simd
      for (int i = 0; i < width; i++) {
        const float x = ((float)i + 0.5f) * step - 1.0f;
        const float power = ((line[3] * x + line[2]) * x + line[1]) * x + line[0];
        row[i] = (row[i] - background) * exp2_near(power) + background;
      }
    }
  }
}

/* The functions of intensity.h, for their tests. */
EXPORTED void medssl_exp2(float *restrict values, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) values[i] = exp2_near(values[i]);
}

EXPORTED void medssl_log2(float *restrict values, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) values[i] = log2_near(values[i]);
}

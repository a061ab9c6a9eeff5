/* Averages over a window along each axis, of which one in n is kept (augment/prefilter.py).

   One output plane at a time: rows are averaged across planes, straight from the stored integers,
   then across rows, then along themselves. A ring holds the rows that the next output row needs, so
   that a voxel is read from memory once (from the cache, once for each weight) and nothing is
   written but the result. */
#include <stdlib.h>
#include <string.h>

#include "loops.h"

#define MOST_WEIGHTS 64

static inline int64_t within(int64_t at, int64_t n) { return at < 0 ? 0 : at < n ? at : n - 1; }

/* to[x] = sum of weights[k] * rows[k][x]; the weights are symmetric. */
#define WEIGHTED_OF(NAME, TYPE, K)                                                               \
  static void NAME##_##K(float *restrict to, const TYPE *const *rows, const float *weights,      \
                         int64_t n) {                                                            \
    const TYPE *from[K];                                                                         \
    float by[K];                                                                                 \
    for (int k = 0; k < K; k++) from[k] = rows[k], by[k] = weights[k];                           \
    _Pragma("omp simd") for (int64_t x = 0; x < n; x++) {                                        \
      float sum = by[K / 2] * (float)from[K / 2][x];                                             \
      if (K % 2 == 0) sum += by[K / 2 - 1] * (float)from[K / 2 - 1][x];                          \
      for (int k = 0; k < (K - 1) / 2; k++)                                                      \
        sum += by[k] * ((float)from[k][x] + (float)from[K - 1 - k][x]);                          \
      to[x] = sum;                                                                               \
    }                                                                                            \
  }

#define WEIGHTED(NAME, TYPE)                                                                     \
  WEIGHTED_OF(NAME, TYPE, 1)                                                                     \
  WEIGHTED_OF(NAME, TYPE, 2)                                                                     \
  WEIGHTED_OF(NAME, TYPE, 3)                                                                     \
  WEIGHTED_OF(NAME, TYPE, 4)                                                                     \
  WEIGHTED_OF(NAME, TYPE, 5)                                                                     \
  WEIGHTED_OF(NAME, TYPE, 6)                                                                     \
  static void NAME(float *restrict to, const TYPE *const *rows, const float *weights, int count, \
                   int64_t n) {                                                                  \
    switch (count) {                                                                             \
      case 1: NAME##_1(to, rows, weights, n); return;                                            \
      case 2: NAME##_2(to, rows, weights, n); return;                                            \
      case 3: NAME##_3(to, rows, weights, n); return;                                            \
      case 4: NAME##_4(to, rows, weights, n); return;                                            \
      case 5: NAME##_5(to, rows, weights, n); return;                                            \
      case 6: NAME##_6(to, rows, weights, n); return;                                            \
    }                                                                                            \
    for (int64_t x = 0; x < n; x++) to[x] = 0;                                                   \
    for (int k = 0; k < count; k++) {                                                            \
      const TYPE *restrict from = rows[k];                                                       \
      const float by = weights[k];                                                               \
      _Pragma("omp simd") for (int64_t x = 0; x < n; x++) to[x] += by * (float)from[x];          \
    }                                                                                            \
  }

WEIGHTED(weighted_f32, float)
WEIGHTED(weighted_i16, int16_t)
WEIGHTED(weighted_u16, uint16_t)
WEIGHTED(weighted_u8, uint8_t)

/* to[x] = sum of weights[k] * row[n * x + k] */
CORE void every_nth(float *restrict to, const float *restrict row, const float *weights, int count,
                    int64_t factor, int64_t n) {
  for (int64_t x = 0; x < n; x++) to[x] = 0;
  for (int k = 0; k < count; k++) {
    const float by = weights[k];
#pragma omp simd
    for (int64_t x = 0; x < n; x++) to[x] += by * row[factor * x + k];
  }
}

static void along_the_row(float *to, const float *row, const float *weights, int count,
                          int64_t factor, int64_t n) {
  const float *shifted[MOST_WEIGHTS];
  if (factor == 2) {
    every_nth(to, row, weights, count, 2, n);
  } else if (factor > 1) {
    every_nth(to, row, weights, count, factor, n);
  } else {
    for (int k = 0; k < count; k++) shifted[k] = row + k;
    weighted_f32(to, shifted, weights, count, n);
  }
}

/* numbers: shape (3), elements from plane to plane and from row to row (2), factors (3), how many
   weights (3). Returns 1 where there is no memory for the rows, or there are too many weights. */
#define PREFILTER(NAME, TYPE)                                                                    \
  EXPORTED int medssl_prefilter_##NAME(const TYPE *in, const int64_t *numbers,                   \
                                       const float *weights, float *out) {                       \
    const int64_t planes = numbers[0], rows = numbers[1], voxels = numbers[2];                   \
    const int64_t next_plane = numbers[3], next_row = numbers[4];                                \
    const int64_t *factor = numbers + 5, *count = numbers + 8;                                   \
    const float *by_plane = weights, *by_row = by_plane + count[0], *by_voxel = by_row + count[1];\
    int64_t kept[3], ahead[3];                                                                   \
    for (int axis = 0; axis < 3; axis++) {                                                       \
      if (count[axis] > MOST_WEIGHTS) return 1;                                                  \
      kept[axis] = (numbers[axis] + factor[axis] - 1) / factor[axis];                            \
      ahead[axis] = (count[axis] - factor[axis]) / 2;                                            \
    }                                                                                            \
    /* The last average of a row may reach past its end by more than the window alone does. */   \
    const int64_t wide = MOST(voxels, (kept[2] - 1) * factor[2] + count[2]) + ahead[2];          \
    const int64_t pitch = (wide + 15) / 16 * 16;                                                 \
    float *ring = malloc(sizeof(float) * (size_t)(pitch * (count[1] + 1)));                      \
    if (!ring) return 1;                                                                         \
    float *whole = ring + pitch * count[1];                                                      \
    for (int64_t p = 0; p < kept[0]; p++) {                                                      \
      const TYPE *plane[MOST_WEIGHTS], *row[MOST_WEIGHTS];                                       \
      const float *ready[MOST_WEIGHTS];                                                          \
      for (int k = 0; k < count[0]; k++)                                                         \
        plane[k] = in + within(p * factor[0] - ahead[0] + k, planes) * next_plane;               \
      int64_t done = 0;                                                                          \
      for (int64_t r = 0; r < kept[1]; r++) {                                                    \
        const int64_t first = r * factor[1] - ahead[1];                                          \
        const int64_t last = within(first + count[1] - 1, rows);                                 \
        for (; done <= last; done++) {                                                           \
          for (int k = 0; k < count[0]; k++) row[k] = plane[k] + done * next_row;                \
          weighted_##NAME(ring + pitch * (done % count[1]), row, by_plane, (int)count[0],        \
                          voxels);                                                               \
        }                                                                                        \
        for (int k = 0; k < count[1]; k++)                                                       \
          ready[k] = ring + pitch * (within(first + k, rows) % count[1]);                        \
        weighted_f32(whole + ahead[2], ready, by_row, (int)count[1], voxels);                    \
        for (int64_t x = 0; x < ahead[2]; x++) whole[x] = whole[ahead[2]];                       \
        for (int64_t x = ahead[2] + voxels; x < wide; x++) whole[x] = whole[x - 1];              \
        along_the_row(out, whole, by_voxel, (int)count[2], factor[2], kept[2]);                  \
        out += kept[2];                                                                          \
      }                                                                                          \
    }                                                                                            \
    free(ring);                                                                                  \
    return 0;                                                                                    \
  }

PREFILTER(f32, float)
PREFILTER(i16, int16_t)
PREFILTER(u16, uint16_t)
PREFILTER(u8, uint8_t)

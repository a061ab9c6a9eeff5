/* Weighted sums along each axis of a block: for each place along an axis, some neighbours from a
   start on, each with its weight (augment/separable.py).

   One output plane at a time: rows are summed across planes, straight from the stored integers, then
   across rows, then along themselves. A ring holds the rows that the next output row needs, so that
   a voxel is read from memory once and nothing is written but the result. */
#include <stdlib.h>

#include "loops.h"

enum { MOST_WEIGHTS = 64 };

/* The sums along one axis: `size` of them, each of `count` neighbours. Where `step` is not 0, all
   have the same weights and start `step` apart. */
struct sums {
  int64_t voxels, size, count, step;
  const int32_t *starts;
  const float *weights;
};

CORE int64_t held(int64_t at, int64_t n) { return at < 0 ? 0 : at < n ? at : n - 1; }

CORE const float *weights_at(const struct sums *s, int64_t j) { return s->weights + j * s->count; }

/* to[x] = sum of by[k] * from[k][x]. */
#define WEIGHTED_OF(TYPE, K)                                                  \
  static void weighted_##TYPE##_##K(float *restrict to, const TYPE *const *rows, \
                                    const float *weights, int64_t n) {        \
    const TYPE *from[K];                                                      \
    float by[K];                                                              \
    for (int k = 0; k < K; k++) from[k] = rows[k], by[k] = weights[k];        \
    _Pragma("omp simd") for (int64_t x = 0; x < n; x++) {                     \
      float sum = by[0] * (float)from[0][x];                                  \
      for (int k = 1; k < K; k++) sum += by[k] * (float)from[k][x];           \
      to[x] = sum;                                                            \
    }                                                                         \
  }

#define WEIGHTED(TYPE)                                                                     \
  WEIGHTED_OF(TYPE, 1)                                                                     \
  WEIGHTED_OF(TYPE, 2)                                                                     \
  WEIGHTED_OF(TYPE, 3)                                                                     \
  WEIGHTED_OF(TYPE, 4)                                                                     \
  WEIGHTED_OF(TYPE, 5)                                                                     \
  WEIGHTED_OF(TYPE, 6)                                                                     \
  WEIGHTED_OF(TYPE, 7)                                                                     \
  WEIGHTED_OF(TYPE, 8)                                                                     \
  static void weighted_##TYPE(float *restrict to, const TYPE *const *rows,                 \
                              const float *weights, int64_t count, int64_t n) {            \
    switch (count) {                                                                       \
      case 1: weighted_##TYPE##_1(to, rows, weights, n); return;                           \
      case 2: weighted_##TYPE##_2(to, rows, weights, n); return;                           \
      case 3: weighted_##TYPE##_3(to, rows, weights, n); return;                           \
      case 4: weighted_##TYPE##_4(to, rows, weights, n); return;                           \
      case 5: weighted_##TYPE##_5(to, rows, weights, n); return;                           \
      case 6: weighted_##TYPE##_6(to, rows, weights, n); return;                           \
      case 7: weighted_##TYPE##_7(to, rows, weights, n); return;                           \
      case 8: weighted_##TYPE##_8(to, rows, weights, n); return;                           \
    }                                                                                      \
    for (int64_t x = 0; x < n; x++) to[x] = 0;                                             \
    for (int64_t k = 0; k < count; k++) {                                                  \
      const TYPE *restrict from = rows[k];                                                 \
      const float by = weights[k];                                                         \
      _Pragma("omp simd") for (int64_t x = 0; x < n; x++) to[x] += by * (float)from[x];    \
    }                                                                                      \
  }

WEIGHTED(float)
WEIGHTED(int16_t)
WEIGHTED(uint16_t)
WEIGHTED(uint8_t)

/* to[j] = sum of weights[k] * row[step * j + k] */
CORE void spread_evenly(float *restrict to, const float *restrict row, const float *weights,
                        int64_t count, int64_t step, int64_t n) {
  for (int64_t j = 0; j < n; j++) to[j] = 0;
  for (int64_t k = 0; k < count; k++) {
    const float by = weights[k];
#pragma omp simd
    for (int64_t j = 0; j < n; j++) to[j] += by * row[step * j + k];
  }
}

/* The sums along a row. `row` goes on beyond both ends by as much as any sum reaches, and `starts`
   count from there; `turned` holds the weights neighbour by neighbour. */
static void along_row(float *restrict to, const float *restrict row, const struct sums *s,
                      const int32_t *restrict starts, const float *restrict turned) {
  const float *shifted[MOST_WEIGHTS];
  if (s->step == 1) {
    for (int64_t k = 0; k < s->count; k++) shifted[k] = row + starts[0] + k;
    weighted_float(to, shifted, s->weights, s->count, s->size);
  } else if (s->step == 2) {
    spread_evenly(to, row + starts[0], s->weights, s->count, 2, s->size);
  } else if (s->step) {
    spread_evenly(to, row + starts[0], s->weights, s->count, s->step, s->size);
  } else {
    for (int64_t j = 0; j < s->size; j++) to[j] = turned[j] * row[starts[j]];
    for (int64_t k = 1; k < s->count; k++) {
      const float *restrict by = turned + k * s->size;
#pragma omp simd
      for (int64_t j = 0; j < s->size; j++) to[j] += by[j] * row[starts[j] + k];
    }
  }
}

/* Working memory: a ring of rows, one row that goes on beyond its ends, and the last axis's sums. */
struct work {
  float *ring, *row, *turned;
  int32_t *starts;
  int64_t pitch, before, after;
};

static int prepare(struct work *w, const struct sums s[3]) {
  const struct sums *last = &s[2];
  w->before = w->after = 0;
  for (int64_t j = 0; j < last->size; j++) {
    w->before = MOST(w->before, -last->starts[j]);
    w->after = MOST(w->after, last->starts[j] + last->count - last->voxels);
  }
  w->pitch = (w->before + last->voxels + w->after + 15) / 16 * 16;
  const int64_t floats = w->pitch * (s[1].count + 1) + last->size * last->count;
  w->ring = malloc(sizeof(float) * (size_t)floats + sizeof(int32_t) * (size_t)last->size);
  if (!w->ring) return 1;
  w->row = w->ring + w->pitch * s[1].count;
  w->turned = w->row + w->pitch;
  w->starts = (int32_t *)(w->turned + last->size * last->count);
  for (int64_t j = 0; j < last->size; j++) {
    w->starts[j] = last->starts[j] + (int32_t)w->before;
    for (int64_t k = 0; k < last->count; k++)
      w->turned[k * last->size + j] = weights_at(last, j)[k];
  }
  return 0;
}

#define SEPARABLE(TYPE)                                                                       \
  static void sums_of_##TYPE(const TYPE *in, const int64_t stride[2], const struct sums s[3], \
                             struct work *w, float *out) {                                    \
    const int64_t voxels = s[2].voxels;                                                       \
    for (int64_t i = 0; i < s[0].size; i++) {                                                 \
      const TYPE *plane[MOST_WEIGHTS], *row[MOST_WEIGHTS];                                    \
      const float *ready[MOST_WEIGHTS];                                                       \
      for (int64_t k = 0; k < s[0].count; k++)                                                \
        plane[k] = in + held(s[0].starts[i] + k, s[0].voxels) * stride[0];                    \
      int64_t next = 0;                                                                       \
      for (int64_t j = 0; j < s[1].size; j++) {                                               \
        const int64_t first = s[1].starts[j];                                                 \
        const int64_t last = held(first + s[1].count - 1, s[1].voxels);                       \
        for (next = MOST(next, held(first, s[1].voxels)); next <= last; next++) {             \
          for (int64_t k = 0; k < s[0].count; k++) row[k] = plane[k] + next * stride[1];      \
          weighted_##TYPE(w->ring + w->pitch * (next % s[1].count), row,                      \
                          weights_at(&s[0], i), s[0].count, voxels);                          \
        }                                                                                     \
        for (int64_t k = 0; k < s[1].count; k++)                                              \
          ready[k] = w->ring + w->pitch * (held(first + k, s[1].voxels) % s[1].count);        \
        float *within = w->row + w->before;                                                   \
        weighted_float(within, ready, weights_at(&s[1], j), s[1].count, voxels);              \
        for (int64_t x = 0; x < w->before; x++) w->row[x] = within[0];                        \
        for (int64_t x = 0; x < w->after; x++) within[voxels + x] = within[voxels - 1];       \
        along_row(out, w->row, &s[2], w->starts, w->turned);                                  \
        out += s[2].size;                                                                     \
      }                                                                                       \
    }                                                                                         \
  }

SEPARABLE(float)
SEPARABLE(int16_t)
SEPARABLE(uint16_t)
SEPARABLE(uint8_t)

/* Weighted sums along each axis.

   in:      voxels of type 0 int16, 1 uint16, 2 float32 or 3 uint8; `stride` in voxels, the last
            one is 1, the others may be negative.
   shape:   of the block; beyond its faces the outermost voxel goes on.
   size:    how many sums along each axis; count: of how many neighbours; step: the distance between
            their starts where these are even and the weights the same, else 0.
   starts:  those of the three axes one after the other, not falling along the second one.
   weights: (size, count) of the three axes one after the other.
   out:     (size) float32.
   Returns 0, or 1 where there is no memory or a sum has more than MOST_WEIGHTS neighbours. */
EXPORTED int medssl_separable(const void *in, int type, const int64_t shape[3],
                              const int64_t stride[2], const int64_t size[3],
                              const int64_t count[3], const int64_t step[3], const int32_t *starts,
                              const float *weights, float *out) {
  struct sums s[3];
  for (int a = 0; a < 3; a++) {
    if (count[a] > MOST_WEIGHTS) return 1;
    s[a] = (struct sums){shape[a], size[a], count[a], step[a], starts, weights};
    starts += size[a];
    weights += size[a] * count[a];
  }
  struct work w;
  if (prepare(&w, s)) return 1;
  if (type == 0)
    sums_of_int16_t(in, stride, s, &w, out);
  else if (type == 1)
    sums_of_uint16_t(in, stride, s, &w, out);
  else if (type == 2)
    sums_of_float(in, stride, s, &w, out);
  else
    sums_of_uint8_t(in, stride, s, &w, out);
  free(w.ring);
  return 0;
}

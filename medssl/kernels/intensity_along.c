/* A matrix along one axis of a patch, in place: smoothing, averaging, truncation in k-space. Only
   what is not zero is multiplied, so that a narrow band costs little. */
#include "loops.h"

#include <string.h>

#define TILE 64

/* As many numbers as the processor takes at once; four sums are under way together. */
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* Copies `count` floats, nearly always `all` of them, which then is a few moves and no call. */
CORE void copied(float *to, const float *from, int64_t count, size_t all) {
  if (count == (int64_t)all)
    memcpy(to, from, sizeof(float) * all);
  else
    memcpy(to, from, sizeof(float) * (size_t)count);
}

/* (outer, size, inner), along the middle axis.

   matrix:  (size, size), row by row: what becomes voxel i.
   ranges:  (size, 2), from which to below which column a row is not 0.
   scratch: size * 64 floats. A tile is copied there, then read from the cache. */
EXPORTED void medssl_along(float *restrict image, int64_t outer, int64_t size, int64_t inner,
                           const float *restrict matrix, const int32_t *restrict ranges,
                           float *restrict scratch) {
  memset(scratch, 0, sizeof(float) * TILE * (size_t)size);
  for (int64_t o = 0; o < outer; o++)
    for (int64_t start = 0; start < inner; start += TILE) {
      float *restrict tile = image + o * size * inner + start;
      const int64_t width = LEAST(inner - start, TILE);
      for (int64_t k = 0; k < size; k++)
        copied(scratch + k * TILE, tile + k * inner, width, TILE);
      for (int64_t i = 0; i < size; i++) {
        const float *weights = matrix + i * size;
        const int32_t low = ranges[2 * i], high = ranges[2 * i + 1];
        float sums[TILE];
        for (int t = 0; t < TILE; t += 4 * LANES) {
          lanes a = {0}, b = {0}, c = {0}, d = {0};
          for (int32_t k = low; k < high; k++) {
            const float *at = scratch + (int64_t)k * TILE + t;
            a += weights[k] * *(const lanes *)at;
            b += weights[k] * *(const lanes *)(at + LANES);
            c += weights[k] * *(const lanes *)(at + 2 * LANES);
            d += weights[k] * *(const lanes *)(at + 3 * LANES);
          }
          *(lanes *)(sums + t) = a;
          *(lanes *)(sums + t + LANES) = b;
          *(lanes *)(sums + t + 2 * LANES) = c;
          *(lanes *)(sums + t + 3 * LANES) = d;
        }
        copied(tile + i * inner, sums, width, TILE);
      }
    }
}

/* The same along the last axis of (rows, size), whose voxels lie side by side.

   columns: (size, size to the next multiple of 16): what voxel k gives to each; then zeros.
   ranges:  (size / 16 rounded up, 2), from which to below which k sixteen sums are not 0.
   scratch: 4 * size floats, four rows at a time. */
EXPORTED void medssl_along_last(float *restrict image, int64_t rows, int64_t size,
                                const float *restrict columns, const int32_t *restrict ranges,
                                float *restrict scratch) {
  const int width = (int)size, stride = (width + 15) / 16 * 16;
  memset(scratch, 0, sizeof(float) * 4 * (size_t)size);
  for (int64_t r = 0; r < rows; r += 4) {
    const int count = (int)LEAST(rows - r, 4);
    float *restrict row = image + r * size;
    memcpy(scratch, row, sizeof(float) * (size_t)(count * size));
    for (int i = 0; i < width; i += LANES) {
      const int low = ranges[i / 16 * 2], high = ranges[i / 16 * 2 + 1];
      lanes a = {0}, b = {0}, c = {0}, d = {0};
      for (int k = low; k < high; k++) {
        const lanes weight = *(const lanes *)(columns + (int64_t)k * stride + i);
        a += weight * scratch[k];
        b += weight * scratch[k + width];
        c += weight * scratch[k + 2 * width];
        d += weight * scratch[k + 3 * width];
      }
      const lanes sums[4] = {a, b, c, d};
      const int some = LEAST(width - i, LANES);
      for (int j = 0; j < 4 && j < count; j++)
        copied(row + j * size + i, (const float *)&sums[j], some, LANES);
    }
  }
}

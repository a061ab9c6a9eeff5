/* A patch out of a block of voxels under an affine map, in one pass: interpolation, rescale,
   normalisation, and where the patch lies in the scan.

   Speed comes from three things. Two neighbours of 16 bits are fetched as one word, so that eight
   taps are four gathers. The inner loop runs along the patch's axis that lies nearest to the block's
   contiguous one, and where that is not the patch's own last axis, a tile of rows is turned over on
   the way out. Values are finished while the row is in the cache. */
#include "loops.h"

enum { TILE = 16, LONGEST = 1024 };

struct grid {
  int stride[2]; /* voxels between planes and rows; the last axis is contiguous */
  float last[3]; /* highest coordinate */
  int base[3];   /* highest lower neighbour */
};

struct row {
  float at[3], step[3];
  int n;
  const float *moved; /* (3, n) or NULL: added to each coordinate */
};

/* As `medssl.augment.interpolate.Finish`; the order of fields is shared. */
struct finish {
  float slope, intercept, low, high, root, centre, factor, background;
};

typedef int32_t pair_signed __attribute__((aligned(2), may_alias));
typedef uint32_t pair_unsigned __attribute__((aligned(2), may_alias));

#define VOXEL int16_t
#define NAME(what) what##_int16
#define LOAD2(a, b, p) \
  const int32_t a##b = *(const pair_signed *)(block + (p)); \
  a = (float)(int16_t)a##b; b = (float)(a##b >> 16)
#include "sample_rows.h"

#define VOXEL uint16_t
#define NAME(what) what##_uint16
#define LOAD2(a, b, p) \
  const uint32_t a##b = *(const pair_unsigned *)(block + (p)); \
  a = (float)(int32_t)(a##b & 0xffff); b = (float)(int32_t)(a##b >> 16)
#include "sample_rows.h"

#define VOXEL float
#define NAME(what) what##_float
#define LOAD2(a, b, p) a = block[p]; b = block[(p) + 1]
#include "sample_rows.h"

CORE void fetch(const void *block, int type, int order, const struct grid *grid,
                const struct row *row, float *restrict out) {
  if (type == 0) {
    if (order) linear_int16(block, grid, row, out); else nearest_int16(block, grid, row, out);
  } else if (type == 1) {
    if (order) linear_uint16(block, grid, row, out); else nearest_uint16(block, grid, row, out);
  } else {
    if (order) linear_float(block, grid, row, out); else nearest_float(block, grid, row, out);
  }
}

/* Values of a row: rescaled, clipped, rooted, centred and scaled. */
CORE void finished(const struct finish *f, float *restrict values, int n) {
  const float slope = f->slope, intercept = f->intercept, low = f->low, high = f->high;
  const float centre = f->centre, factor = f->factor;
  if (f->root != 0.0f) {
#pragma omp simd
    for (int k = 0; k < n; k++) {
      float v = values[k] * slope + intercept;
      v = v < low ? low : v; v = v > high ? high : v;
      values[k] = (__builtin_sqrtf(v) - centre) * factor;
    }
  } else {
#pragma omp simd
    for (int k = 0; k < n; k++) {
      float v = values[k] * slope + intercept;
      v = v < low ? low : v; v = v > high ? high : v;
      values[k] = (v - centre) * factor;
    }
  }
}

/* True where a coordinate lies within the scan; elsewhere the value becomes background. */
CORE void judged(const float low[3], const float high[3], const struct row *row, float background,
                 float *restrict values, uint8_t *restrict valid) {
  const float z0 = row->at[0], y0 = row->at[1], x0 = row->at[2];
  const float dz = row->step[0], dy = row->step[1], dx = row->step[2];
  const int n = row->n;
#pragma omp simd
  for (int k = 0; k < n; k++) {
    const float z = z0 + dz * k, y = y0 + dy * k, x = x0 + dx * k;
    const int in = (z >= low[0]) & (z <= high[0]) & (y >= low[1]) & (y <= high[1]) &
                   (x >= low[2]) & (x <= high[2]);
    valid[k] = (uint8_t)in;
    values[k] = in ? values[k] : background;
  }
}

CORE void judged_moved(const float low[3], const float high[3], const struct row *row,
                       float background, float *restrict values, uint8_t *restrict valid) {
  const int n = row->n;
  const float *restrict uz = row->moved, *restrict uy = uz + n, *restrict ux = uy + n;
#pragma omp simd
  for (int k = 0; k < n; k++) {
    const float z = row->at[0] + row->step[0] * k + uz[k];
    const float y = row->at[1] + row->step[1] * k + uy[k];
    const float x = row->at[2] + row->step[2] * k + ux[k];
    const int in = (z >= low[0]) & (z <= high[0]) & (y >= low[1]) & (y <= high[1]) &
                   (x >= low[2]) & (x <= high[2]);
    valid[k] = (uint8_t)in;
    values[k] = in ? values[k] : background;
  }
}

struct task {
  const void *block;
  int type, order;
  struct grid grid;
  const double *matrix;
  const float *moved;
  const int64_t *size;
  const struct finish *finish;
  float low[3], high[3];
  int within;
};

/* One row along axis `along` of the patch from voxel `at`, into values and valid. */
CORE void one_row(const struct task *t, const int64_t at[3], int along, float *restrict values,
                  uint8_t *restrict valid, float *restrict shifts) {
  struct row row = {.n = (int)t->size[along], .moved = NULL};
  for (int a = 0; a < 3; a++) {
    const double *m = t->matrix + 4 * a;
    row.at[a] = (float)(m[0] * at[0] + m[1] * at[1] + m[2] * at[2] + m[3]);
    row.step[a] = (float)m[along];
  }
  if (t->moved) {
    const int64_t all = t->size[0] * t->size[1] * t->size[2];
    const int64_t step = along == 0 ? t->size[1] * t->size[2] : along == 1 ? t->size[2] : 1;
    const int64_t from = (at[0] * t->size[1] + at[1]) * t->size[2] + at[2];
    for (int a = 0; a < 3; a++)
      for (int k = 0; k < row.n; k++) shifts[a * row.n + k] = t->moved[a * all + from + k * step];
    row.moved = shifts;
  }
  fetch(t->block, t->type, t->order, &t->grid, &row, values);
  if (t->finish) finished(t->finish, values, row.n);
  if (t->within || !valid) return;
  const float background = t->finish ? t->finish->background : 0.0f;
  if (t->moved)
    judged_moved(t->low, t->high, &row, background, values, valid);
  else
    judged(t->low, t->high, &row, background, values, valid);
}

/* Sample a patch.

   block:   voxels of type 0 int16, 1 uint16 or 2 float32; `stride` in voxels, the last one is 1.
   matrix:  (3, 4), index of the patch's voxel -> index in the block.
   moved:   (3, size) added to the coordinates in the block, or NULL.
   order:   1 trilinear, 0 nearest.
   finish:  what makes values of stored numbers, or NULL.
   low, high: the scan in the block's coordinates; within: 1 where all of the patch is inside.
   image:   (size) float32; valid: (size) uint8, not written where `within`, or NULL.
   Returns 0, or 1 where an axis is too long for the row buffers. */
EXPORTED int medssl_sample(const void *block, int type, const int64_t shape[3],
                           const int64_t stride[2], const double matrix[12], const float *moved,
                           const int64_t size[3], int order, const struct finish *finish,
                           const double low[3], const double high[3], int within, float *image,
                           uint8_t *valid) {
  struct task t = {block, type, order, {{0, 0}, {0, 0, 0}, {0, 0, 0}}, matrix, moved, size, finish,
                   {0, 0, 0}, {0, 0, 0}, within};
  for (int a = 0; a < 3; a++) {
    if (size[a] > LONGEST) return 1;
    t.grid.last[a] = (float)(shape[a] - 1);
    t.grid.base[a] = (int)MOST(shape[a] - 2, 0);
    if (a < 2) t.grid.stride[a] = shape[a] > 1 ? (int)stride[a] : 0;
    t.low[a] = (float)low[a];
    t.high[a] = (float)high[a];
  }
  int along = 2;
  for (int a = 1; a >= 0; a--)
    if (__builtin_fabs(matrix[8 + a]) > 1.01 * __builtin_fabs(matrix[8 + along])) along = a;
  float shifts[3 * LONGEST];
  if (along == 2) {
    for (int64_t i = 0; i < size[0]; i++)
      for (int64_t j = 0; j < size[1]; j++) {
        const int64_t at[3] = {i, j, 0}, to = (i * size[1] + j) * size[2];
        one_row(&t, at, 2, image + to, valid ? valid + to : NULL, shifts);
      }
    return 0;
  }
  float values[TILE * LONGEST];
  uint8_t flags[TILE * LONGEST];
  const int other = 1 - along, n = (int)size[along];
  const int64_t step_along = along == 0 ? size[1] * size[2] : size[2];
  const int64_t step_other = along == 0 ? size[2] : size[1] * size[2];
  for (int64_t j = 0; j < size[other]; j++)
    for (int64_t k0 = 0; k0 < size[2]; k0 += TILE) {
      const int tile = (int)LEAST(size[2] - k0, TILE);
      for (int k = 0; k < tile; k++) {
        int64_t at[3] = {0, 0, k0 + k};
        at[other] = j;
        one_row(&t, at, along, values + k * n, valid ? flags + k * n : NULL, shifts);
      }
      for (int i = 0; i < n; i++) {
        const int64_t to = i * step_along + j * step_other + k0;
        for (int k = 0; k < tile; k++) image[to + k] = values[k * n + i];
        if (valid && !within)
          for (int k = 0; k < tile; k++) valid[to + k] = flags[k * n + i];
      }
    }
  return 0;
}

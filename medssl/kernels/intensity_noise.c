/* Fields of noise from a counter: a voxel's number depends on the key and its place alone. */
#include "intensity.h"

#include <string.h>

/* Numbers are made for 256 voxels at a time: block b of Philox gives four, for voxels b, b + 64,
   b + 128 and b + 192 of them. */
#define BLOCKS 64
#define CHUNK (4 * BLOCKS)

/* Philox4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011). */
CORE void philox(uint32_t a, uint32_t b, uint64_t key, uint32_t *w, uint32_t *x, uint32_t *y,
                 uint32_t *z) {
  uint32_t c = 0, d = 0;
  uint32_t k = (uint32_t)key, l = (uint32_t)(key >> 32);
#define ROUND \
  { \
    const uint64_t p = (uint64_t)a * 0xD2511F53u, q = (uint64_t)c * 0xCD9E8D57u; \
    a = (uint32_t)(q >> 32) ^ b ^ k; \
    c = (uint32_t)(p >> 32) ^ d ^ l; \
    b = (uint32_t)q; \
    d = (uint32_t)p; \
    k += 0x9E3779B9u; \
    l += 0xBB67AE85u; \
  }
  ROUND ROUND ROUND ROUND ROUND ROUND ROUND ROUND ROUND ROUND
#undef ROUND
  *w = a;
  *x = b;
  *y = c;
  *z = d;
}

/* Two standard normal numbers of two random words (Box, Muller 1958). */
CORE void normal_pair(uint32_t u, uint32_t v, float *x, float *y) {
  const float share = ((float)(int32_t)(u >> 1) + 0.5f) * 0x1p-31f;
  const float radius = __builtin_sqrtf(-1.38629436f * log2_near(share));
  /* The angle is the nearest quarter turn and up to an eighth more or less. */
  const uint32_t quarter = (v + 0x20000000u) >> 30;
  const float t = (float)(int32_t)(v << 2) * (1.57079633f * 0x1p-32f), tt = t * t;
  float sine = -1.95039887e-4f;
  sine = sine * tt + 8.33203644e-3f;
  sine = sine * tt - 1.66666508e-1f;
  sine = (sine * tt + 1.0f) * t;
  float cosine = 2.43798877e-5f;
  cosine = cosine * tt - 1.38866191e-3f;
  cosine = cosine * tt + 4.16666158e-2f;
  cosine = cosine * tt - 0.5f;
  cosine = cosine * tt + 1.0f;
  const union bits s = {.value = quarter & 1 ? cosine : sine};
  const union bits c = {.value = quarter & 1 ? sine : cosine};
  const union bits flipped_s = {.whole = s.whole ^ (int32_t)((quarter & 2) << 30)};
  const union bits flipped_c = {.whole = c.whole ^ (int32_t)(((quarter + 1) & 2) << 30)};
  *x = radius * flipped_c.value;
  *y = radius * flipped_s.value;
}

/* The words of chunk `chunk`: (4, BLOCKS). */
static void words_of(uint64_t key, int64_t chunk, uint32_t *restrict words) {
  const uint64_t first = (uint64_t)chunk * BLOCKS;
  const uint32_t low = (uint32_t)first, high = (uint32_t)(first >> 32);
#pragma omp simd
  for (int b = 0; b < BLOCKS; b++)
    philox(low + (uint32_t)b, high, key, words + b, words + BLOCKS + b, words + 2 * BLOCKS + b,
           words + 3 * BLOCKS + b);
}

static void normals_of(const uint32_t *restrict words, float *restrict normal) {
#pragma omp simd
  for (int b = 0; b < 2 * BLOCKS; b++)
    normal_pair(words[b], words[b + 2 * BLOCKS], &normal[b], &normal[b + 2 * BLOCKS]);
}

static void normal_chunk(uint64_t key, int64_t chunk, float *restrict normal) {
  uint32_t words[CHUNK];
  words_of(key, chunk, words);
  normals_of(words, normal);
}

/* The generator's own words for counters first ... first + n, (n, 4): for its tests. */
EXPORTED void medssl_philox(uint32_t *restrict words, int64_t n, uint64_t key, uint64_t first) {
  for (int64_t i = 0; i < n; i++) {
    const uint64_t at = first + (uint64_t)i;
    uint32_t *out = words + 4 * i;
    philox((uint32_t)at, (uint32_t)(at >> 32), key, out, out + 1, out + 2, out + 3);
  }
}

EXPORTED void medssl_normal(float *restrict field, int64_t n, uint64_t key) {
  float normal[CHUNK];
  for (int64_t start = 0; start < n; start += CHUNK) {
    normal_chunk(key, start / CHUNK, normal);
    memcpy(field + start, normal, sizeof(float) * (size_t)LEAST(n - start, CHUNK));
  }
}

/* image + sigma * normal. */
EXPORTED void medssl_add_normal(float *restrict image, int64_t n, float sigma, uint64_t key) {
  float normal[CHUNK];
  for (int64_t start = 0; start < n; start += CHUNK) {
    normal_chunk(key, start / CHUNK, normal);
    float *restrict at = image + start;
    const int count = (int)LEAST(n - start, CHUNK);
#pragma omp simd
    for (int i = 0; i < count; i++) at[i] += sigma * normal[i];
  }
}

/* The magnitude of the signal above the background with normal noise in both channels. */
EXPORTED void medssl_rician(float *restrict image, int64_t n, float background, float sigma,
                            uint64_t key) {
  float normal[CHUNK];
  for (int64_t start = 0; start < n; start += CHUNK / 2) {
    normal_chunk(key, start / (CHUNK / 2), normal);
    float *restrict at = image + start;
    const int count = (int)LEAST(n - start, CHUNK / 2);
#pragma omp simd
    for (int i = 0; i < count; i++) {
      const float real = at[i] - background + sigma * normal[i];
      const float imaginary = sigma * normal[i + CHUNK / 2];
      at[i] = __builtin_sqrtf(real * real + imaginary * imaginary) + background;
    }
  }
}

#define FEW 10.0f

/* Poisson numbers of mean `expected`, FEW at most: the sum of the probabilities is followed until
   it passes an even random number. */
static void few_counts(const uint32_t *restrict words, const float *restrict expected, int steps,
                     float *restrict counts) {
  float chance[CHUNK], left[CHUNK];
#pragma omp simd
  for (int i = 0; i < CHUNK; i++) {
    chance[i] = exp2_near(-1.44269504f * expected[i]);
    left[i] = (float)(int32_t)(words[i] >> 8) * 0x1p-24f;
    counts[i] = 0.0f;
  }
  for (int k = 1; k <= steps; k++) {
    const float part = 1.0f / (float)k;
#pragma omp simd
    for (int i = 0; i < CHUNK; i++) {
      left[i] -= chance[i];
      /* Where next to no chance is left, what remains is rounding; and numbers that are not normal
         any more would be a hundred times slower. */
      const int some = chance[i] > 1e-9f, more = (left[i] >= 0.0f) & some;
      counts[i] += (float)more;
      chance[i] *= (float)some * expected[i] * part;
    }
  }
}

/* Poisson numbers of a mean above FEW, of normal ones: the expansion of the quantile by powers of
   its root (Giles, Algorithm 955, ACM TOMS 2016, equation 9). */
CORE float many_counts(float expected, float w) {
  const float root = __builtin_sqrtf(expected), ww = w * w;
  const float first = 0.333333333f + ww * 0.166666667f;
  const float second = -w * (0.0277777778f + ww * 0.0138888889f);
  const float third = -0.0197530864f + ww * (0.00864197531f + ww * 0.0037037037f);
  const float at = expected + root * w + first + (second + third / root) / root;
  /* Below 0, far out in the tail, nothing is counted. */
  return (float)((int32_t)at & -(int32_t)(at > 0.0f));
}

/* The root of what is counted where the squares of the image times `per_unit` are expected, in the
   image's unit. */
EXPORTED void medssl_counts(float *restrict image, int64_t n, float per_unit, uint64_t key) {
  const float part = 1.0f / per_unit;
  for (int64_t start = 0; start < n; start += CHUNK) {
    float *restrict at = image + start;
    const int count = (int)LEAST(n - start, CHUNK);
    uint32_t words[CHUNK];
    float expected[CHUNK] = {0}, few[CHUNK] = {0}, many[CHUNK] = {0};
    float least = 3e38f, most = 0.0f;
#pragma omp simd reduction(max : most) reduction(min : least)
    for (int i = 0; i < count; i++) {
      const float v = at[i] > 0.0f ? at[i] : 0.0f;
      expected[i] = v * v * per_unit;
      most = expected[i] > most ? expected[i] : most;
      least = expected[i] < least ? expected[i] : least;
    }
    words_of(key, start / CHUNK, words);
    if (least <= FEW) {
      const float bound = most < FEW ? most : FEW;
      few_counts(words, expected, (int)(bound + 8.0f * __builtin_sqrtf(bound) + 8.0f), few);
    }
    if (most > FEW) {
      normals_of(words, many);
#pragma omp simd
      for (int i = 0; i < CHUNK; i++) many[i] = many_counts(MOST(expected[i], FEW), many[i]);
    }
#pragma omp simd
    for (int i = 0; i < count; i++)
      at[i] = __builtin_sqrtf((expected[i] > FEW ? many[i] : few[i]) * part);
  }
}

/* Rows of samples of a block of VOXEL; included once for each type, with LOAD2(a, b, p), which takes
   two neighbours along the last axis. */

#define HELD(v, most) ((v) < 0.0f ? 0.0f : (v) > (most) ? (most) : (v))

/* Trilinear: `n` samples from (z, y, x) on, a step apart. Coordinates are held to the block, so that
   beyond its outermost voxels the nearest goes on. */
#define ONE_SAMPLE(Z, Y, X) \
  { \
    const float z = HELD(Z, zm), y = HELD(Y, ym), x = HELD(X, xm); \
    int iz = (int)z, iy = (int)y, ix = (int)x; \
    iz = iz > zi ? zi : iz; iy = iy > yi ? yi : iy; ix = ix > xi ? xi : ix; \
    const float wz = z - iz, wy = y - iy, wx = x - ix; \
    const int p = iz * sz + iy * sy + ix; \
    float a, b, c, d, e, f, g, h; \
    LOAD2(a, b, p); LOAD2(c, d, p + sy); LOAD2(e, f, p + sz); LOAD2(g, h, p + sz + sy); \
    a += wx * (b - a); c += wx * (d - c); e += wx * (f - e); g += wx * (h - g); \
    a += wy * (c - a); e += wy * (g - e); \
    out[k] = a + wz * (e - a); \
  }

CORE void NAME(linear)(const VOXEL *restrict block, const struct grid *grid, const struct row *row,
                       float *restrict out) {
  const int sz = grid->stride[0], sy = grid->stride[1], n = row->n;
  const float z0 = row->at[0], y0 = row->at[1], x0 = row->at[2];
  const float dz = row->step[0], dy = row->step[1], dx = row->step[2];
  const float zm = grid->last[0], ym = grid->last[1], xm = grid->last[2];
  const int zi = grid->base[0], yi = grid->base[1], xi = grid->base[2];
  if (row->moved) {
    const float *restrict uz = row->moved, *restrict uy = uz + n, *restrict ux = uy + n;
#pragma omp simd
    for (int k = 0; k < n; k++) ONE_SAMPLE(z0 + dz * k + uz[k], y0 + dy * k + uy[k], x0 + dx * k + ux[k])
  } else {
#pragma omp simd
    for (int k = 0; k < n; k++) ONE_SAMPLE(z0 + dz * k, y0 + dy * k, x0 + dx * k)
  }
}
#undef ONE_SAMPLE

/* The nearest voxel instead; it is taken out of a pair too, since pairs can be gathered. */
#define ONE_SAMPLE(Z, Y, X) \
  { \
    const float z = HELD(Z, zm), y = HELD(Y, ym), x = HELD(X, xm); \
    const int ix = (int)(x + 0.5f), low = ix > xi ? xi : ix; \
    const int p = (int)(z + 0.5f) * sz + (int)(y + 0.5f) * sy + low; \
    float a, b; \
    LOAD2(a, b, p); \
    out[k] = ix > low ? b : a; \
  }

CORE void NAME(nearest)(const VOXEL *restrict block, const struct grid *grid, const struct row *row,
                        float *restrict out) {
  const int sz = grid->stride[0], sy = grid->stride[1], n = row->n;
  const float z0 = row->at[0], y0 = row->at[1], x0 = row->at[2];
  const float dz = row->step[0], dy = row->step[1], dx = row->step[2];
  const float zm = grid->last[0], ym = grid->last[1], xm = grid->last[2];
  const int xi = grid->base[2];
  const float x_end = x0 + dx * (n - 1);
  if (!row->moved && dz == 0.0f && dy == 0.0f && (dx == 1.0f || dx == -1.0f) && x0 >= 0.0f &&
      x0 <= xm && x_end >= 0.0f && x_end <= xm) { /* voxels as they lie */
    const int z = (int)(HELD(z0, zm) + 0.5f), y = (int)(HELD(y0, ym) + 0.5f);
    const VOXEL *from = block + z * sz + y * sy + (int)(x0 + 0.5f);
    if (dx > 0.0f)
      for (int k = 0; k < n; k++) out[k] = (float)from[k];
    else
      for (int k = 0; k < n; k++) out[k] = (float)from[-k];
    return;
  }
  if (row->moved) {
    const float *restrict uz = row->moved, *restrict uy = uz + n, *restrict ux = uy + n;
#pragma omp simd
    for (int k = 0; k < n; k++) ONE_SAMPLE(z0 + dz * k + uz[k], y0 + dy * k + uy[k], x0 + dx * k + ux[k])
  } else {
#pragma omp simd
    for (int k = 0; k < n; k++) ONE_SAMPLE(z0 + dz * k, y0 + dy * k, x0 + dx * k)
  }
}
#undef ONE_SAMPLE
#undef HELD

#undef NAME
#undef VOXEL
#undef LOAD2

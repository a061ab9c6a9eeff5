/* What every file of loops shares. */
#ifndef MEDSSL_LOOPS_H
#define MEDSSL_LOOPS_H

#include <stddef.h>
#include <stdint.h>

/* EXPORTED: seen from Python. CORE: taken in whole by each of its callers, so that the vectoriser
   sees one plain loop. */
#define EXPORTED __attribute__((visibility("default")))
#define CORE static inline __attribute__((always_inline))

#define LEAST(a, b) ((a) < (b) ? (a) : (b))
#define MOST(a, b) ((a) > (b) ? (a) : (b))

#endif

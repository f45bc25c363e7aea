/* Watches a vibration sensor: three ways in which 64 samples can be out of the ordinary, computed
 * in the sandbox alone, in less than one page of memory.
 *
 * The first half of the window is the reference: its median, and a spread of 1.4826 times the
 * median absolute deviation, which a few outliers do not move. The answer is four numbers a window:
 *   0 impact  the largest robust z-score of any sample: |x - median| / spread
 *   1 shift   the highest CUSUM (Page 1954) of the second half, for a mean that moved away: drift 1,
 *             and no sample counts for more than 3 spreads, so that an impact is not a shift
 *   2 growth  the mean square of the second half over that of the first, each without its largest
 *   3 alarm   1 impact > 8, 2 shift > 16, 4 growth > 6, added up; 8 alone: the sensor is flat */
#include "../abi/meshnode_guest.h"

enum { WINDOW = 64, HALF = WINDOW / 2, OUT = 4 };
#define FLOOR 1e-6f

MN_EXPORT(init) int32_t init(void) { return MN_SUCCESS; }

static float size_of(float x) { return x < 0 ? -x : x; }
static float larger(float a, float b) { return a > b ? a : b; }

/* The middle of HALF values, which are left in order. */
static float median(float *v) {
  for (int i = 1; i < HALF; i++) {
    float x = v[i];
    int at = i;
    for (; at > 0 && v[at - 1] > x; at--) v[at] = v[at - 1];
    v[at] = x;
  }
  return 0.5f * (v[HALF / 2 - 1] + v[HALF / 2]);
}

/* The energy of half a window without its largest sample. */
static float energy(const float *x, float middle) {
  float sum = 0, most = 0;
  for (int i = 0; i < HALF; i++) {
    float square = (x[i] - middle) * (x[i] - middle);
    sum += square;
    most = larger(most, square);
  }
  return larger(sum - most, 0);
}

static float cusum(const float *x, float middle, float scale) {
  float up = 0, down = 0, highest = 0;
  for (int i = 0; i < HALF; i++) {
    float z = (x[i] - middle) / scale;
    z = z > 3 ? 3 : z < -3 ? -3 : z;
    up = larger(0, up + z - 1);
    down = larger(0, down - z - 1);
    highest = larger(highest, larger(up, down));
  }
  return highest;
}

static void judge(const float *x, float *out) {
  float sorted[HALF];
  for (int i = 0; i < HALF; i++) sorted[i] = x[i];
  float middle = median(sorted);
  for (int i = 0; i < HALF; i++) sorted[i] = size_of(x[i] - middle);
  float least = FLOOR * (1 + size_of(middle));
  float scale = larger(1.4826f * median(sorted), least);

  float widest = 0;
  for (int i = 0; i < WINDOW; i++) widest = larger(widest, size_of(x[i] - middle));
  if (widest == 0) {
    out[0] = out[1] = 0, out[2] = 1, out[3] = 8;
    return;
  }
  out[0] = widest / scale;
  out[1] = cusum(x + HALF, middle, scale);
  out[2] = energy(x + HALF, middle) / larger(energy(x, middle), HALF * least * least);
  out[3] = (out[0] > 8 ? 1 : 0) + (out[1] > 16 ? 2 : 0) + (out[2] > 6 ? 4 : 0);
}

MN_EXPORT(predict)
int32_t predict(const float *in, uint32_t in_len, float *out, uint32_t out_len) {
  uint32_t rows = in_len / WINDOW;
  if (rows * WINDOW != in_len) return -MN_UNSUPPORTED_OPERATION;
  if (rows * OUT > out_len) return MN_SEED_TOO_SMALL;
  for (uint32_t i = 0; i < in_len; i++)
    if (in[i] - in[i] != 0) return MN_INVALID_ARGUMENT; /* not a number, or infinite */
  for (uint32_t r = 0; r < rows; r++) judge(in + r * WINDOW, out + r * OUT);
  return MN_SUCCESS;
}

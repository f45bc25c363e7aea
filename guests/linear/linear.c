/* y = W x + b, computed inside the sandbox: a module with a model and without onnxruntime.
 *
 * Scores of three kinds of reading (calm, rising, alarm) from four features of a sensor's window:
 * mean, spread, slope, peak. The host may hand over several rows at once (batch). */
#include "../abi/meshnode_guest.h"

enum { IN = 4, OUT = 3 };

static const float W[OUT][IN] = {
    {-0.5f, -2.0f, -1.0f, -0.25f},
    {0.25f, 0.5f, 4.0f, 0.125f},
    {0.5f, 1.0f, 1.0f, 2.0f},
};
static const float B[OUT] = {1.0f, -0.5f, -2.0f};

MN_EXPORT(init) int32_t init(void) { return MN_SUCCESS; }

MN_EXPORT(predict)
int32_t predict(const float *in, uint32_t in_len, float *out, uint32_t out_len) {
  uint32_t rows = in_len / IN;
  if (rows * IN != in_len) return -2;
  if (rows * OUT > out_len) return MN_SEED_TOO_SMALL;
  for (uint32_t r = 0; r < rows; r++)
    for (uint32_t o = 0; o < OUT; o++) {
      float sum = B[o];
      for (uint32_t i = 0; i < IN; i++) sum += W[o][i] * in[r * IN + i];
      out[r * OUT + o] = sum;
    }
  return MN_SUCCESS;
}

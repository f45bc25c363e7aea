/* Reads handwritten digits through wasi-nn's own interface, as guests of other runtimes do: six
 * imports, of which this one uses five. Answers with the digit and how sure the network is. */
#include "../abi/wasi_nn.h"

enum { PIXELS = 64, DIGITS = 10, OUT = 2, ROWS_MAX = 64 };

static uint32_t graph, context;
static float probabilities[ROWS_MAX * DIGITS];

MN_EXPORT(init) int32_t init(void) {
  int32_t error = nn_load_by_name("digits", 6, &graph);
  return error ? error : nn_init_execution_context(graph, &context);
}

static int32_t classify(const float *in, uint32_t rows, float *out) {
  uint32_t dims[4] = {rows, 1, 8, 8}, written = 0;
  nn_tensor images = {dims, 4, MN_FLOAT32, {0}, (void *)in, rows * PIXELS * 4};
  int32_t error = nn_set_input(context, 0, &images);
  if (!error) error = nn_compute(context);
  if (!error) error = nn_get_output(context, 0, probabilities, rows * DIGITS * 4, &written);
  if (error) return error;
  if (written != rows * DIGITS * 4) return MN_RUNTIME_ERROR;
  for (uint32_t r = 0; r < rows; r++) {
    const float *p = probabilities + r * DIGITS;
    uint32_t best = 0;
    for (uint32_t d = 1; d < DIGITS; d++)
      if (p[d] > p[best]) best = d;
    out[r * OUT] = (float)best;
    out[r * OUT + 1] = p[best];
  }
  return MN_SUCCESS;
}

MN_EXPORT(predict)
int32_t predict(const float *in, uint32_t in_len, float *out, uint32_t out_len) {
  uint32_t rows = in_len / PIXELS;
  if (rows * PIXELS != in_len) return -MN_UNSUPPORTED_OPERATION;
  if (rows * OUT > out_len) return MN_SEED_TOO_SMALL;
  for (uint32_t done = 0; done < rows; done += ROWS_MAX) {
    uint32_t some = rows - done < ROWS_MAX ? rows - done : ROWS_MAX;
    int32_t error = classify(in + done * PIXELS, some, out + done * OUT);
    if (error) return error;
  }
  return MN_SUCCESS;
}

/* Serves a model of one float32 input and one output through wasi-nn, as a guest written for other
 * runtimes would: `meshnode bench` measures with it what that interface costs. The answer is taken
 * to have a row for each row of the input, because wasi-nn does not tell shapes. */
#include "../abi/meshnode_guest.h"

MN_IMPORT("wasi_ephemeral_nn", "load_by_name")
int32_t nn_load_by_name(const char *name, uint32_t size, uint32_t *graph);
MN_IMPORT("wasi_ephemeral_nn", "init_execution_context")
int32_t nn_init_execution_context(uint32_t graph, uint32_t *context);
MN_IMPORT("wasi_ephemeral_nn", "set_input")
int32_t nn_set_input(uint32_t context, uint32_t index, const mn_tensor *tensor);
MN_IMPORT("wasi_ephemeral_nn", "compute") int32_t nn_compute(uint32_t context);
MN_IMPORT("wasi_ephemeral_nn", "get_output")
int32_t nn_get_output(uint32_t context, uint32_t index, void *out, uint32_t size,
                      uint32_t *written);

static uint32_t context;

MN_EXPORT(init) int32_t init(void) {
  uint32_t graph;
  int32_t error = nn_load_by_name("model", 5, &graph);
  return error ? error : nn_init_execution_context(graph, &context);
}

MN_EXPORT(infer)
int32_t infer(const mn_tensor *in, uint32_t n_in, mn_tensor *out, uint32_t n_out) {
  uint32_t written = 0;
  if (n_in != 1 || n_out != 1 || !in->dims_len) return MN_UNSUPPORTED_OPERATION;
  int32_t error = nn_set_input(context, 0, in);
  if (!error) error = nn_compute(context);
  if (!error) error = nn_get_output(context, 0, out->data, out->data_len, &written);
  if (error) return error;
  out->dims[0] = in->dims[0];
  out->dims[1] = written / 4 / in->dims[0];
  out->dims_len = 2;
  out->data_len = written;
  return MN_SUCCESS;
}

/* What `meshnode pack model.onnx` puts around a model: every tensor goes to the host's model
 * "model" and comes back as it is. The records are passed on, so nothing is copied here. */
#include "../abi/meshnode_guest.h"

static int32_t model;

MN_EXPORT(init) int32_t init(void) {
  model = meshnode_model_open("model", 5);
  return model > 0 ? MN_SUCCESS : -model;
}

MN_EXPORT(infer)
int32_t infer(mn_tensor *in, uint32_t n_in, mn_tensor *out, uint32_t n_out) {
  return meshnode_infer(model, in, n_in, out, n_out);
}

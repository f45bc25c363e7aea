/* Pointers to where nothing is. The first element chooses: 0, the guest itself reads outside its
 * memory (MN-404); 1, it hands such pointers to host functions, and answers with what they say:
 * y = errno of an open, of an infer, and of a describe. Nothing of the host may be touched. */
#include "../../abi/meshnode_guest.h"

MN_EXPORT(init) int32_t init(void) { return MN_SUCCESS; }

MN_EXPORT(predict)
int32_t predict(const float *in, uint32_t in_len, float *out, uint32_t out_len) {
  if (in_len < 4 || out_len < 4) return MN_SEED_TOO_SMALL;
  if (in[0] == 0.0f) return *(volatile int32_t *)0xfffffff0u;
  mn_tensor wild = {(uint32_t *)0xffffff00u, 16, MN_FLOAT32, {0, 0, 0}, (void *)0xfffffff0u, ~0u};
  meshnode_log(1, (const char *)0xfffffff0u, ~0u);
  out[0] = (float)meshnode_model_open((const char *)0xffffff00u, 4096);
  out[1] = (float)meshnode_infer(1, (mn_tensor *)0xfffffff8u, 1, (mn_tensor *)0xfffffff8u, 1);
  out[2] = (float)meshnode_infer(1, &wild, 1, &wild, 1);
  out[3] = (float)meshnode_describe(1, 0, 0, (mn_tensor *)0xfffffff8u);
  return MN_SUCCESS;
}

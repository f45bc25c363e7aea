/* Executes `unreachable`, if the first element is not 0. What must happen: MN-404. */
#include "../../abi/meshnode_guest.h"

MN_EXPORT(init) int32_t init(void) { return MN_SUCCESS; }

MN_EXPORT(predict)
int32_t predict(const float *in, uint32_t in_len, float *out, uint32_t out_len) {
  if (in_len && in[0] != 0.0f) __builtin_trap();
  for (uint32_t i = 0; i < in_len && i < out_len; i++) out[i] = in[i];
  return MN_SUCCESS;
}

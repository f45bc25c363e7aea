/* Never gets ready. What must happen: stopped at its time limit when it is loaded (MN-403). */
#include "../../abi/meshnode_guest.h"

static volatile uint32_t counter;

MN_EXPORT(init) int32_t init(void) {
  for (;;) counter++;
}

MN_EXPORT(predict)
int32_t predict(const float *in, uint32_t in_len, float *out, uint32_t out_len) {
  return MN_SUCCESS;
}

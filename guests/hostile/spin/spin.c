/* Never returns. What must happen: stopped at its time limit (MN-403). */
#include "../../abi/meshnode_guest.h"

static volatile uint32_t counter;

MN_EXPORT(init) int32_t init(void) { return MN_SUCCESS; }

MN_EXPORT(predict)
int32_t predict(const float *in, uint32_t in_len, float *out, uint32_t out_len) {
  for (;;) counter++;
}

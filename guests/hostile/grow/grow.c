/* Takes memory until there is none, and writes to it. What must happen: MN-402. */
#include "../../abi/meshnode_guest.h"

MN_EXPORT(init) int32_t init(void) { return MN_SUCCESS; }

MN_EXPORT(predict)
int32_t predict(const float *in, uint32_t in_len, float *out, uint32_t out_len) {
  for (;;) {
    uint32_t page = __builtin_wasm_memory_grow(0, 16);
    if (page == 0xffffffffu) __builtin_trap();
    *(volatile uint32_t *)(page << 16) = 1;
  }
}

/* Wants to run a shell. What must happen: refused before it is compiled (MN-205). */
#include "../../abi/meshnode_guest.h"

MN_IMPORT("env", "system") int32_t host_system(const char *command);

MN_EXPORT(init) int32_t init(void) { return MN_SUCCESS; }

MN_EXPORT(predict)
int32_t predict(const float *in, uint32_t in_len, float *out, uint32_t out_len) {
  return host_system("id");
}

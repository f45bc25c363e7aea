/* Serves a model of one float32 input and one output through the seed ABI, as a module written for
 * it would: `meshnode bench` measures with it what the ABI costs. */
#include "../abi/meshnode_guest.h"

enum { RANK_MAX = 16 };

static int32_t model;
static uint32_t rank, row_len, dims[RANK_MAX], out_dims[RANK_MAX];

MN_EXPORT(init) int32_t init(void) {
  mn_tensor input = {dims, RANK_MAX, MN_FLOAT32, {0}, 0, 0};
  model = meshnode_model_open("model", 5);
  if (model < 0) return -model;
  int32_t error = meshnode_describe(model, 0, 0, &input);
  rank = input.dims_len;
  row_len = 1;
  for (uint32_t axis = 1; axis < rank; axis++) row_len *= dims[axis];
  return error;
}

MN_EXPORT(predict)
int32_t predict(const float *in, uint32_t in_len, float *out, uint32_t out_len) {
  dims[0] = in_len / row_len;
  mn_tensor given = {dims, rank, MN_FLOAT32, {0}, (void *)in, in_len * 4};
  mn_tensor answer = {out_dims, RANK_MAX, MN_FLOAT32, {0}, out, out_len * 4};
  int32_t error = meshnode_infer(model, &given, 1, &answer, 1);
  return error == MN_TOO_LARGE ? MN_SEED_TOO_SMALL : error;
}

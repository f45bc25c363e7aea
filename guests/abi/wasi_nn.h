/* wasi-nn's WITX interface ("wasi_ephemeral_nn"), for C. Guests written for other runtimes import
 * these six; the order of parameters and every number is the specification's. New guests fare
 * better with meshnode_guest.h: one call of the host for each inference instead of three. */
#ifndef WASI_NN_H
#define WASI_NN_H

#include "meshnode_guest.h"

#define NN_IMPORT(name) MN_IMPORT("wasi_ephemeral_nn", name)

/* nn_errno is MN_SUCCESS .. MN_NOT_FOUND, tensor types are MN_FLOAT16 .. MN_INT64. */
enum { NN_OPENVINO, NN_ONNX, NN_TENSORFLOW, NN_PYTORCH, NN_TENSORFLOWLITE, NN_AUTODETECT };
enum { NN_TARGET_CPU, NN_TARGET_GPU, NN_TARGET_TPU };

/* The bytes of a model, in any number of pieces. */
typedef struct {
  const uint8_t *data;
  uint32_t size;
} nn_builder;

/* The layout is that of mn_tensor: dims, rank, type, data, size in bytes. */
typedef mn_tensor nn_tensor;

/* Only for modules that may bring models of their own (capability nn.load). */
NN_IMPORT("load")
int32_t nn_load(const nn_builder *builders, uint32_t count, uint32_t encoding, uint32_t target,
                uint32_t *graph);

NN_IMPORT("load_by_name")
int32_t nn_load_by_name(const char *name, uint32_t size, uint32_t *graph);

NN_IMPORT("init_execution_context")
int32_t nn_init_execution_context(uint32_t graph, uint32_t *context);

/* The tensor is copied: its memory is the guest's again when this returns. */
NN_IMPORT("set_input")
int32_t nn_set_input(uint32_t context, uint32_t index, const nn_tensor *tensor);

NN_IMPORT("compute") int32_t nn_compute(uint32_t context);

/* MN_TOO_LARGE if the buffer is too small. */
NN_IMPORT("get_output")
int32_t nn_get_output(uint32_t context, uint32_t index, void *buffer, uint32_t size,
                      uint32_t *written);

#endif

/* The guest ABI of meshnode, for C. docs/guest-abi.md is the specification.
 *
 * A guest exports its memory, and either
 *   int32_t init(void);                                        0 if ready
 *   int32_t predict(const float *in, uint32_t in_len,
 *                   float *out, uint32_t out_len);              lengths in elements
 * (the "seed" ABI: one float32 array in, one out), or
 *   int32_t infer(mn_tensor *in, uint32_t n_in, mn_tensor *out, uint32_t n_out);
 * (several tensors). All pointers are offsets into the guest's own memory.
 */
#ifndef MESHNODE_GUEST_H
#define MESHNODE_GUEST_H

typedef unsigned char uint8_t;
typedef int int32_t;
typedef unsigned int uint32_t;

#define MN_EXPORT(name) __attribute__((export_name(#name)))
#define MN_IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

/* What host functions and infer return. */
enum {
  MN_SUCCESS = 0,
  MN_INVALID_ARGUMENT = 1,
  MN_INVALID_ENCODING = 2,
  MN_MISSING_MEMORY = 3,
  MN_BUSY = 4,
  MN_RUNTIME_ERROR = 5,
  MN_UNSUPPORTED_OPERATION = 6,
  MN_TOO_LARGE = 7,
  MN_NOT_FOUND = 8
};

/* What predict returns if out_len is too small for its answer. */
#define MN_SEED_TOO_SMALL (-1)

/* Element types. The first six are those of wasi-nn. */
enum {
  MN_FLOAT16 = 0,
  MN_FLOAT32 = 1,
  MN_FLOAT64 = 2,
  MN_UINT8 = 3,
  MN_INT32 = 4,
  MN_INT64 = 5,
  MN_BOOL = 16,
  MN_INT8 = 17,
  MN_UINT16 = 18,
  MN_INT16 = 19,
  MN_UINT32 = 20,
  MN_UINT64 = 21
};

/* Capability bits of meshnode_query_caps. */
enum { MN_CPU = 1, MN_CUDA = 2, MN_OPENCL = 4, MN_VPU = 8, MN_DSP = 16 };

/* 20 bytes. Of an input, dims_len is the rank and data_len the size in bytes. Of an output they
 * are the room there is, and become what was written; if the room is too small the answer is
 * MN_TOO_LARGE and they become what is needed. */
typedef struct {
  uint32_t *dims;
  uint32_t dims_len;
  uint8_t type;
  uint8_t padding[3];
  void *data;
  uint32_t data_len;
} mn_tensor;

_Static_assert(sizeof(mn_tensor) == 20, "the host reads 20 bytes");

#define MN_ANY_DIM 0xffffffffu

/* Which accelerators this node has: the bits above. */
MN_IMPORT("meshnode", "query_caps") int32_t meshnode_query_caps(void);

/* One line of at most 1,024 bytes of UTF-8; level 0 debug, 1 info, 2 warning. */
MN_IMPORT("meshnode", "log") void meshnode_log(int32_t level, const char *text, uint32_t size);

/* A handle (1, 2, ...) of a model of the manifest, or an errno with a minus sign. */
MN_IMPORT("meshnode", "model_open")
int32_t meshnode_model_open(const char *name, uint32_t size);

/* Type and shape of an input (direction 0) or output (1); MN_ANY_DIM for open sizes. */
MN_IMPORT("meshnode", "describe")
int32_t meshnode_describe(int32_t model, uint32_t direction, uint32_t index, mn_tensor *tensor);

/* Runs a model: every input in its order, as many outputs as wanted. */
MN_IMPORT("meshnode", "infer")
int32_t meshnode_infer(int32_t model, const mn_tensor *in, uint32_t n_in, mn_tensor *out,
                       uint32_t n_out);

#endif

/* Finds things in an image, whole: a uint8 NHWC image of any size comes in, boxes go out. Resizing,
 * normalising, the turn to NCHW, decoding and non-maximum suppression happen in here; the host only
 * runs the network. `models/detect` makes the network and says what it finds.
 *
 * The image keeps its proportions and is put in the middle of a 64 x 64 canvas, the rest black. */
#include "../abi/meshnode_guest.h"

enum { SIDE = 64, CHANNELS = 3, CLASSES = 3, STRIDE = 4, LEVELS = 3 };
enum { CELLS = 16 * 16 + 8 * 8 + 4 * 4, BOXES_MAX = 32, IMAGE_SIDE_MAX = 8192 };
#define SCORE_MIN 0.4f
#define SIDE_MIN 3.0f /* canvas pixels; smaller ones are noise */
#define OVERLAP_MAX 0.45f

typedef struct {
  float x1, y1, x2, y2;
} box;

/* What the network answers for each cell and class. */
typedef struct {
  float score[CLASSES][CELLS];
  float x[CLASSES][CELLS], y[CLASSES][CELLS]; /* from the cell's middle, its level's pixels */
  float width[CLASSES][CELLS], height[CLASSES][CELLS];
} answer;

/* How the image lies on the canvas. */
typedef struct {
  uint32_t width, height; /* of the image */
  uint32_t left, top, across, down; /* where it lies, canvas pixels */
} placing;

static int32_t model;
static float canvas[CHANNELS][SIDE][SIDE];
static answer cells;
static box candidates[CLASSES * CELLS], boxes[BOXES_MAX];
static float candidate_scores[CLASSES * CELLS], scores[BOXES_MAX];
static int32_t candidate_classes[CLASSES * CELLS], classes[BOXES_MAX];

MN_EXPORT(init) int32_t init(void) {
  model = meshnode_model_open("detect", 6);
  return model > 0 ? MN_SUCCESS : -model;
}

static float larger(float a, float b) { return a > b ? a : b; }
static float smaller(float a, float b) { return a < b ? a : b; }

/* ------------------------------------------------------------------ before the network */

static placing place(uint32_t width, uint32_t height) {
  uint32_t longer = width > height ? width : height;
  uint32_t across = (width * SIDE + longer / 2) / longer, down = (height * SIDE + longer / 2) / longer;
  if (!across) across = 1;
  if (!down) down = 1;
  return (placing){width, height, (SIDE - across) / 2, (SIDE - down) / 2, across, down};
}

/* Where a canvas pixel lies in the image: the two nearest pixels and the second one's share. */
static float between(uint32_t at, uint32_t pixels, uint32_t length, uint32_t *a, uint32_t *b) {
  float place = ((float)at + 0.5f) * (float)length / (float)pixels - 0.5f;
  place = larger(0, smaller(place, (float)(length - 1)));
  *a = (uint32_t)place;
  *b = *a + 1 < length ? *a + 1 : *a;
  return place - (float)*a;
}

/* Bilinear, normalised to -1..1, and from NHWC to NCHW. */
static void resize(const uint8_t *image, const placing *p) {
  for (uint32_t c = 0; c < CHANNELS; c++)
    for (uint32_t y = 0; y < SIDE; y++)
      for (uint32_t x = 0; x < SIDE; x++) canvas[c][y][x] = -1.0f;
  for (uint32_t y = 0; y < p->down; y++) {
    uint32_t y0, y1;
    float fy = between(y, p->down, p->height, &y0, &y1);
    for (uint32_t x = 0; x < p->across; x++) {
      uint32_t x0, x1;
      float fx = between(x, p->across, p->width, &x0, &x1);
      for (uint32_t c = 0; c < CHANNELS; c++) {
#define PIXEL(row, column) ((float)image[((row) * p->width + (column)) * CHANNELS + c])
        float upper = PIXEL(y0, x0) + fx * (PIXEL(y0, x1) - PIXEL(y0, x0));
        float lower = PIXEL(y1, x0) + fx * (PIXEL(y1, x1) - PIXEL(y1, x0));
        canvas[c][p->top + y][p->left + x] = (upper + fy * (lower - upper)) / 127.5f - 1.0f;
      }
    }
  }
}

/* ------------------------------------------------------------------ after the network */

/* Takes what is likely enough, whole and owned by its own cell, in the image's coordinates. */
static uint32_t decode(const placing *p) {
  float sx = (float)p->width / (float)p->across, sy = (float)p->height / (float)p->down;
  uint32_t found = 0, cell = 0;
  for (uint32_t level = 0; level < LEVELS; level++) {
    uint32_t side = SIDE / STRIDE >> level;
    float pixel = (float)(1u << level);
    for (uint32_t at = 0; at < side * side; at++, cell++)
      for (uint32_t c = 0; c < CLASSES; c++) {
        float dx = cells.x[c][cell], dy = cells.y[c][cell];
        float w = cells.width[c][cell] * pixel, h = cells.height[c][cell] * pixel;
        if (!(cells.score[c][cell] >= SCORE_MIN) || w < SIDE_MIN || h < SIDE_MIN) continue;
        if (dx < -STRIDE || dx > STRIDE || dy < -STRIDE || dy > STRIDE) continue;
        float x = ((float)(at % side * STRIDE + STRIDE / 2) + dx) * pixel - (float)p->left;
        float y = ((float)(at / side * STRIDE + STRIDE / 2) + dy) * pixel - (float)p->top;
        box b = {(x - w / 2) * sx, (y - h / 2) * sy, (x + w / 2) * sx, (y + h / 2) * sy};
        b.x1 = larger(0, b.x1), b.y1 = larger(0, b.y1);
        b.x2 = smaller((float)p->width, b.x2), b.y2 = smaller((float)p->height, b.y2);
        candidates[found] = b;
        candidate_scores[found] = cells.score[c][cell];
        candidate_classes[found++] = (int32_t)c;
      }
  }
  return found;
}

static float overlap(const box *a, const box *b) {
  float w = smaller(a->x2, b->x2) - larger(a->x1, b->x1);
  float h = smaller(a->y2, b->y2) - larger(a->y1, b->y1);
  if (w <= 0 || h <= 0) return 0;
  float both = w * h;
  float all = (a->x2 - a->x1) * (a->y2 - a->y1) + (b->x2 - b->x1) * (b->y2 - b->y1) - both;
  return both / all;
}

/* Non-maximum suppression: the best one first, and nothing of its class that lies on it. */
static uint32_t suppress(uint32_t found) {
  uint32_t kept = 0;
  while (kept < BOXES_MAX) {
    uint32_t best = found;
    for (uint32_t i = 0; i < found; i++)
      if (candidate_scores[i] > 0 &&
          (best == found || candidate_scores[i] > candidate_scores[best]))
        best = i;
    if (best == found) break;
    box winner = candidates[best];
    boxes[kept] = winner;
    scores[kept] = candidate_scores[best];
    classes[kept++] = candidate_classes[best];
    for (uint32_t i = 0; i < found; i++)
      if (candidate_classes[i] == candidate_classes[best] &&
          (i == best || overlap(&winner, &candidates[i]) > OVERLAP_MAX))
        candidate_scores[i] = 0;
  }
  return kept;
}

/* The record is made to point at the answer here: the host copies it out. */
static void answer_with(mn_tensor *out, uint8_t type, void *data, uint32_t count, uint32_t width) {
  out->dims[0] = count;
  if (width) out->dims[1] = width;
  out->dims_len = width ? 2 : 1;
  out->type = type;
  out->data = data;
  out->data_len = count * 4 * (width ? width : 1);
}

MN_EXPORT(infer)
int32_t infer(mn_tensor *in, uint32_t n_in, mn_tensor *out, uint32_t n_out) {
  if (n_in != 1 || n_out != 3 || in->dims_len != 4 || in->type != MN_UINT8)
    return MN_INVALID_ARGUMENT;
  uint32_t height = in->dims[1], width = in->dims[2];
  if (in->dims[0] != 1 || in->dims[3] != CHANNELS || !height || !width ||
      height > IMAGE_SIDE_MAX || width > IMAGE_SIDE_MAX)
    return MN_INVALID_ARGUMENT;
  placing p = place(width, height);
  resize(in->data, &p);

  uint32_t image_dims[4] = {1, CHANNELS, SIDE, SIDE}, cell_dims[3];
  mn_tensor image = {image_dims, 4, MN_FLOAT32, {0}, canvas, sizeof(canvas)};
  mn_tensor raw = {cell_dims, 3, MN_FLOAT32, {0}, &cells, sizeof(cells)};
  int32_t error = meshnode_infer(model, &image, 1, &raw, 1);
  if (error) return error;

  uint32_t kept = suppress(decode(&p));
  answer_with(&out[0], MN_FLOAT32, boxes, kept, 4);
  answer_with(&out[1], MN_FLOAT32, scores, kept, 0);
  answer_with(&out[2], MN_INT32, classes, kept, 0);
  return MN_SUCCESS;
}

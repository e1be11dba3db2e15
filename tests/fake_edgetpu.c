/* A TensorFlow Lite delegate that takes nothing, so that the graph stays on the CPU. FAKE_EDGETPU chooses what goes
   wrong: "no device", "prepare fails", "prepare hangs", "crash". The struct has the fields of TFLite's common.h, in
   their order. */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct TfLiteDelegate {
  void *data;
  int (*prepare)(void *context, struct TfLiteDelegate *delegate);
  void *copy_from, *copy_to, *free_handle;
  int64_t flags;
  void *opaque;
} TfLiteDelegate;

static int is(const char *fault) {
  const char *chosen = getenv("FAKE_EDGETPU");
  return chosen != NULL && strcmp(chosen, fault) == 0;
}

static int prepare(void *context, TfLiteDelegate *delegate) {
  if (is("prepare hangs")) pause();
  if (is("crash")) raise(SIGSEGV);
  return is("prepare fails") ? 1 : 0;
}

TfLiteDelegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  if (is("no device")) {
    report("no Edge TPU is plugged in");
    return NULL;
  }
  TfLiteDelegate *delegate = calloc(1, sizeof *delegate);
  delegate->prepare = prepare;
  return delegate;
}

void tflite_plugin_destroy_delegate(TfLiteDelegate *delegate) { free(delegate); }

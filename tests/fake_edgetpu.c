/* A TensorFlow Lite delegate that takes nothing, so that the graph stays on the CPU. FAKE_EDGETPU chooses what goes
   wrong at the start: "no device", "prepare fails", "prepare hangs", "crash". FAKE_EDGETPU_LATER names a file: as soon
   as it exists, a thread of the library does what its first letter says: (a)bort, (c)rash, (e)xit, (s)top. The struct
   has the fields of TFLite's common.h, in their order. */
#include <fcntl.h>
#include <pthread.h>
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

static void *watch(void *path) {
  char fault = 0;
  while (fault == 0) {
    int file = open(path, O_RDONLY);
    if (file >= 0 && read(file, &fault, 1) == 1) break;
    if (file >= 0) close(file);
    usleep(2000);
  }
  if (fault == 'a') abort();
  if (fault == 'c') raise(SIGSEGV);
  if (fault == 'e') _exit(1);
  if (fault == 's') kill(getpid(), SIGSTOP);
  return NULL;
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
  char *path = getenv("FAKE_EDGETPU_LATER");
  pthread_t thread;
  if (path != NULL) pthread_create(&thread, NULL, watch, path);
  TfLiteDelegate *delegate = calloc(1, sizeof *delegate);
  delegate->prepare = prepare;
  return delegate;
}

void tflite_plugin_destroy_delegate(TfLiteDelegate *delegate) { free(delegate); }

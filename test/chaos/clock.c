/*
 * Moves the clock of a process: loaded before the C library, it adds to the time the nanoseconds that a file holds. It
 * takes no lock and keeps no state of its own, so a signal may come in the middle of it: libfaketime gives handlers the
 * real time then, and PostgreSQL, which looks at the clock in them, would wait for its timeouts for ever.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t SECOND = 1000000000;
static int64_t still = 0;
static const volatile int64_t *ahead = &still;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

static int read_clock(clockid_t id, struct timespec *now) {
  if (!real_clock_gettime) real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  return real_clock_gettime(id, now);
}

__attribute__((constructor)) static void open_clock(void) {
  const char *path = getenv("FLOWGRES_TEST_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  struct timespec now;
  read_clock(CLOCK_REALTIME, &now);
  if (file < 0) return;
  void *mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (mapped != MAP_FAILED) ahead = mapped;
}

int clock_gettime(clockid_t id, struct timespec *now) {
  int result = read_clock(id, now);
  if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
    int64_t moved = now->tv_sec * SECOND + now->tv_nsec + *ahead;
    now->tv_sec = moved / SECOND;
    now->tv_nsec = moved % SECOND;
  }
  return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec read;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &read) != 0) return -1;
  now->tv_sec = read.tv_sec;
  now->tv_usec = read.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *now) {
  struct timespec read;
  if (clock_gettime(CLOCK_REALTIME, &read) != 0) return -1;
  if (now) *now = read.tv_sec;
  return read.tv_sec;
}

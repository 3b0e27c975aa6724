/* Preloaded into a process: counts its calls that change files below one folder, and at the n-th of them kills the process
 * (SIGKILL, so nothing can clean up) or lets that call and all later ones fail as on a full disk.
 *
 * Counted are creating, writing, truncating, syncing, renaming, linking and removing, whoever makes the call: Python, Arrow's
 * C++ or Rust. A write that is the n-th call is torn: half of it reaches the file first.
 *
 * Built by benchmarks/kills.py:  cc -shared -fPIC -O1 -o interrupts.so interrupts.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, KILL, FULL };
static char folder[PATH_MAX];
static long seen, at;
static int mode = OFF;

/* Called through ctypes. n = 0 only counts. */
void interrupts_arm(const char *below, long n, int full) {
    strncpy(folder, below, sizeof folder - 1);
    seen = 0;
    at = n;
    mode = full ? FULL : KILL;
}

long interrupts_seen(void) { return seen; }

static int below(int directory, const char *path) {
    char whole[PATH_MAX * 2];
    if (path[0] != '/') {
        char link[64], base[PATH_MAX];
        if (directory == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
            ssize_t n = readlink(link, base, sizeof base - 1);
            if (n < 0) return 0;
            base[n] = 0;
        }
        snprintf(whole, sizeof whole, "%s/%s", base, path);
        path = whole;
    }
    return strncmp(path, folder, strlen(folder)) == 0;
}

static int fd_below(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Counts one call. Returns whether it has to fail; does not return where the process has to die. */
static int counted(void) {
    seen++;
    if (!at || seen < at) return 0;
    if (mode == KILL && seen == at) die();
    return mode == FULL;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)
#define REFUSED(value) do { errno = ENOSPC; return value; } while (0)
#define CHANGES(flags) ((flags) & (O_CREAT | O_TRUNC))

#define OPEN(name)                                                        \
    int name(const char *path, int flags, ...) {                          \
        va_list rest; va_start(rest, flags);                              \
        mode_t bits = CHANGES(flags) ? va_arg(rest, mode_t) : 0;          \
        va_end(rest);                                                     \
        REAL(name);                                                       \
        if (mode && CHANGES(flags) && below(AT_FDCWD, path) && counted()) REFUSED(-1); \
        return real(path, flags, bits);                                   \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                      \
    int name(int directory, const char *path, int flags, ...) {           \
        va_list rest; va_start(rest, flags);                              \
        mode_t bits = CHANGES(flags) ? va_arg(rest, mode_t) : 0;          \
        va_end(rest);                                                     \
        REAL(name);                                                       \
        if (mode && CHANGES(flags) && below(directory, path) && counted()) REFUSED(-1); \
        return real(directory, path, flags, bits);                        \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *content, size_t size) {
    REAL(write);
    if (mode && fd_below(fd)) {
        if (at && mode == KILL && seen + 1 == at && size > 1) real(fd, content, size / 2);
        if (counted()) REFUSED(-1);
    }
    return real(fd, content, size);
}

#define PWRITE(name, offset_type)                                         \
    ssize_t name(int fd, const void *content, size_t size, offset_type offset) { \
        REAL(name);                                                       \
        if (mode && fd_below(fd)) {                                       \
            if (at && mode == KILL && seen + 1 == at && size > 1) real(fd, content, size / 2, offset); \
            if (counted()) REFUSED(-1);                                   \
        }                                                                 \
        return real(fd, content, size, offset);                           \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int n) {
    REAL(writev);
    if (mode && fd_below(fd) && counted()) REFUSED(-1);
    return real(fd, parts, n);
}

ssize_t sendfile(int to, int from, off_t *offset, size_t size) {
    REAL(sendfile);
    if (mode && fd_below(to) && counted()) REFUSED(-1);
    return real(to, from, offset, size);
}

ssize_t copy_file_range(int from, off64_t *at_from, int to, off64_t *at_to, size_t size, unsigned flags) {
    REAL(copy_file_range);
    if (mode && fd_below(to) && counted()) REFUSED(-1);
    return real(from, at_from, to, at_to, size, flags);
}

#define OF_FD(name)                                                       \
    int name(int fd) {                                                    \
        REAL(name);                                                       \
        if (mode && fd_below(fd) && counted()) REFUSED(-1);               \
        return real(fd);                                                  \
    }
OF_FD(fsync)
OF_FD(fdatasync)

#define TRUNCATE(name, offset_type)                                       \
    int name(int fd, offset_type size) {                                  \
        REAL(name);                                                       \
        if (mode && fd_below(fd) && counted()) REFUSED(-1);               \
        return real(fd, size);                                            \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

int rename(const char *old, const char *new) {
    REAL(rename);
    if (mode && below(AT_FDCWD, new) && counted()) REFUSED(-1);
    return real(old, new);
}

int renameat(int a, const char *old, int b, const char *new) {
    REAL(renameat);
    if (mode && below(b, new) && counted()) REFUSED(-1);
    return real(a, old, b, new);
}

int link(const char *old, const char *new) {
    REAL(link);
    if (mode && below(AT_FDCWD, new) && counted()) REFUSED(-1);
    return real(old, new);
}

/* A full disk still lets one remove. */
#define REMOVE(name)                                                      \
    int name(const char *path) {                                          \
        REAL(name);                                                       \
        if (mode == KILL && below(AT_FDCWD, path)) counted();             \
        return real(path);                                                \
    }
REMOVE(unlink)
REMOVE(rmdir)

int unlinkat(int directory, const char *path, int flags) {
    REAL(unlinkat);
    if (mode == KILL && below(directory, path)) counted();
    return real(directory, path, flags);
}

int mkdir(const char *path, mode_t bits) {
    REAL(mkdir);
    if (mode && below(AT_FDCWD, path) && counted()) REFUSED(-1);
    return real(path, bits);
}

int mkdirat(int directory, const char *path, mode_t bits) {
    REAL(mkdirat);
    if (mode && below(directory, path) && counted()) REFUSED(-1);
    return real(directory, path, bits);
}

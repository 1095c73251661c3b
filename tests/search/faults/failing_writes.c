/* Preloaded into a process: from the moment that it is armed, lets the n-th write to a file in some folder fail, or, with an
   errno of 0, be the last that the process does. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[4096];
static long calls, failing_call;
static int failing_errno, stays_broken, is_torn;

void arm(const char *in_folder, long call, int with_errno, int for_ever, int torn)
{
    snprintf(folder, sizeof folder, "%s", in_folder);
    calls = 0;
    failing_call = call;
    failing_errno = with_errno;
    stays_broken = for_ever;
    is_torn = torn;
}

long calls_since_armed(void) { return calls; }

static int fails(int file)
{
    char link[64], path[4096];
    if (!folder[0])
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    if (strncmp(path, folder, strlen(folder)) != 0)
        return 0;
    calls += 1;
    return calls == failing_call || (stays_broken && calls > failing_call);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define FAIL_OR(result, torn_part)                                                                                             \
    do {                                                                                                                       \
        if (fails(file)) {                                                                                                     \
            if (is_torn)                                                                                                       \
                (void)!(torn_part);                                                                                            \
            if (!failing_errno)                                                                                                \
                kill(getpid(), SIGKILL);                                                                                       \
            errno = failing_errno;                                                                                             \
            return -1;                                                                                                         \
        }                                                                                                                      \
        return result;                                                                                                         \
    } while (0)

ssize_t write(int file, const void *bytes, size_t size)
{
    FAIL_OR(REAL(write)(file, bytes, size), REAL(write)(file, bytes, size / 2));
}

ssize_t pwrite(int file, const void *bytes, size_t size, off_t offset)
{
    FAIL_OR(REAL(pwrite)(file, bytes, size, offset), REAL(pwrite)(file, bytes, size / 2, offset));
}

ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t offset)
{
    FAIL_OR(REAL(pwrite64)(file, bytes, size, offset), REAL(pwrite64)(file, bytes, size / 2, offset));
}

int fsync(int file) { FAIL_OR(REAL(fsync)(file), 0); }
int fdatasync(int file) { FAIL_OR(REAL(fdatasync)(file), 0); }
int ftruncate(int file, off_t size) { FAIL_OR(REAL(ftruncate)(file, size), 0); }
int ftruncate64(int file, off64_t size) { FAIL_OR(REAL(ftruncate64)(file, size), 0); }

// See nodes.h.
#include "nodes.h"

#include <errno.h>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if defined(__linux__) && defined(SYS_mbind)

// Source: include/uapi/linux/mempolicy.h.
constexpr int DEFAULT = 0, PREFERRED = 1, MOVE = 2;
constexpr int64_t FEWEST_PAGES = 8;  // fewer pages are not worth a system call

// Moves the whole pages within [start, stop) to node `number`; returns 0 or errno. The memory policy is set for this
// move only: the pages stay, and memory that is freed later carries no policy to its next user.
static int move_to(uintptr_t start, uintptr_t stop, int number) {
    const int64_t page = sysconf(_SC_PAGESIZE);
    start = (start + page - 1) / page * page, stop = stop / page * page;
    if (stop < start + FEWEST_PAGES * page) return 0;
    constexpr int bits = 8 * sizeof(unsigned long);
    unsigned long mask[MOST_NODE_NUMBERS / bits] = {};
    mask[number / bits] = 1ul << number % bits;
    if (syscall(SYS_mbind, start, stop - start, PREFERRED, mask, MOST_NODE_NUMBERS + 1, MOVE) != 0) return errno;
    return syscall(SYS_mbind, start, stop - start, DEFAULT, nullptr, 0, 0) == 0 ? 0 : errno;
}

int place_panels(const Nodes& nodes, void* data, int64_t bytes, int64_t groups, bool gated) {
    const int64_t halves = gated ? 2 : 1, size = bytes / halves / groups;  // bytes of a group in a half
    for (int64_t half = 0; half < halves; half++)
        for (int n = 0; n < nodes.count; n++) {
            uintptr_t start = (uintptr_t)data + half * groups * size;
            int code = move_to(start + first_group(nodes, n, groups) * size,
                               start + first_group(nodes, n + 1, groups) * size, nodes.numbers[n]);
            if (code) return code;
        }
    return 0;
}

#else

int place_panels(const Nodes&, void*, int64_t, int64_t, bool) { return ENOSYS; }

#endif

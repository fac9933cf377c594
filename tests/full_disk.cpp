// A preloaded library in which one directory lies on a disk of so many bytes.
//
// FULL_DISK_DIRECTORY names the directory (absolute, without symbolic links), FULL_DISK_LEFT a file
// of 8 bytes outside of it: how many bytes may still be written. All processes that inherit the
// environment share that file. Deleting gives nothing back, so that a fault strikes at the same
// byte in every run.
//
// The C library's own streams write without passing a symbol that could be replaced. So a filter of
// the kernel (seccomp) turns each writing system call into a signal, whose handler decides. The
// handler's own calls carry MAGIC in an argument that these calls do not have. A child without
// LD_PRELOAD inherits the filter without the handler, and dies of its first write.

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

namespace {

constexpr uint32_t MAGIC = 0x6e66d15c;
constexpr long BLOCK = 512;  // bytes, of the free space reported

char directory[PATH_MAX];
int64_t* left;  // bytes, shared between processes

// --- The disk ------------------------------------------------------------------------------------

bool inside(const char* path, ssize_t length) {
    const auto size = static_cast<ssize_t>(strlen(directory));
    return length >= size && !strncmp(path, directory, size) &&
           (length == size || path[size] == '/');
}

bool inside(int file) {
    char link[32], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    return inside(path, readlink(link, path, sizeof path));
}

int64_t reserve(int64_t wanted) {
    int64_t before = __atomic_load_n(left, __ATOMIC_SEQ_CST), taken;
    do taken = wanted < before ? wanted : before;
    while (!__atomic_compare_exchange_n(left, &before, before - taken, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST));
    return taken;
}

void give_back(int64_t size) { __atomic_add_fetch(left, size, __ATOMIC_SEQ_CST); }

// --- System calls: results as the kernel gives them, -errno for an error -------------------------

long call(long number, long a, long b, long c, long d, long e) {
    const long result = syscall(number, a, b, c, d, e, long{MAGIC});
    return result == -1 ? -errno : result;
}

// Write no more than there is room for: as much as fits first, ENOSPC once nothing does.
template <typename Write> long limited(int64_t wanted, Write write) {
    if (wanted <= 0) return write(wanted);
    const int64_t room = reserve(wanted);
    if (room == 0) return -ENOSPC;
    const long done = write(room);
    give_back(room - (done > 0 ? done : 0));
    return done;
}

// Of several buffers the first that holds anything is written: a short write, which callers expect.
long limited_vector(long number, long file, long vector, long count, long d, long e) {
    const auto* buffer = reinterpret_cast<const iovec*>(vector);
    for (; count > 1 && buffer->iov_len == 0; --count) ++buffer;
    if (count < 1) return call(number, file, vector, count, d, e);
    return limited(static_cast<int64_t>(buffer->iov_len), [=](int64_t size) {
        iovec first = {buffer->iov_base, static_cast<size_t>(size)};
        return call(number, file, reinterpret_cast<long>(&first), 1, d, e);
    });
}

long guarded(long number, long a, long b, long c, long d, long e) {
    if (!inside(static_cast<int>(a))) return call(number, a, b, c, d, e);
    switch (number) {
        case SYS_write:
        case SYS_pwrite64:
            return limited(c, [=](int64_t size) { return call(number, a, b, size, d, e); });
        case SYS_sendfile:
            return limited(d, [=](int64_t size) { return call(number, a, b, c, size, e); });
        case SYS_writev:
        case SYS_pwritev: return limited_vector(number, a, b, c, d, e);
        default:  // SYS_fallocate; what is written there is counted when it is written
            if (d > __atomic_load_n(left, __ATOMIC_SEQ_CST)) return -ENOSPC;
            return call(number, a, b, c, d, e);
    }
}

void on_call(int, siginfo_t* info, void* context) {
    const int saved = errno;
    auto& machine = static_cast<ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
    auto& r = machine.gregs;
    r[REG_RAX] =
        guarded(info->si_syscall, r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8]);
#elif defined(__aarch64__)
    auto& r = machine.regs;
    r[0] = guarded(info->si_syscall, r[0], r[1], r[2], r[3], r[4]);
#else
#error "registers of this machine"
#endif
    errno = saved;
}

// --- Installation --------------------------------------------------------------------------------

#define ARGUMENT(n) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[n]))
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, action)
#define IF_NUMBER(number, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, skip, 0)

bool install_filter() {
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        IF_NUMBER(SYS_write, 8),
        IF_NUMBER(SYS_pwrite64, 7),
        IF_NUMBER(SYS_writev, 6),
        IF_NUMBER(SYS_pwritev, 5),
        IF_NUMBER(SYS_sendfile, 4),
        IF_NUMBER(SYS_fallocate, 3),
        IF_NUMBER(SYS_pwritev2, 5),         // all six arguments in use: callers know another way
        IF_NUMBER(SYS_copy_file_range, 4),  // likewise
        RETURN(SECCOMP_RET_ALLOW),
        ARGUMENT(5),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MAGIC, 2, 0),
        RETURN(SECCOMP_RET_TRAP),
        RETURN(SECCOMP_RET_ERRNO | ENOSYS),
        RETURN(SECCOMP_RET_ALLOW),
    };
    sock_fprog program = {sizeof code / sizeof code[0], code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

[[noreturn]] void give_up(const char* what) {
    perror(what);
    _exit(125);
}

__attribute__((constructor)) void install() {
    const char* where = getenv("FULL_DISK_DIRECTORY");
    const char* counter = getenv("FULL_DISK_LEFT");
    if (!where || !counter) return;
    strncpy(directory, where, sizeof directory - 1);
    const int file = open(counter, O_RDWR | O_CLOEXEC);
    void* memory = mmap(nullptr, sizeof *left, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) give_up("full_disk: counter");
    close(file);
    left = static_cast<int64_t*>(memory);
    struct sigaction action {};
    action.sa_sigaction = on_call;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART;
    if (sigaction(SIGSYS, &action, nullptr)) give_up("full_disk: handler");
    if (!install_filter()) give_up("full_disk: filter");
}

template <typename Status> int report(int result, bool here, Status* status) {
    if (result == 0 && left && here) {
        status->f_frsize = status->f_bsize = BLOCK;
        status->f_bfree = status->f_bavail = __atomic_load_n(left, __ATOMIC_SEQ_CST) / BLOCK;
    }
    return result;
}

}  // namespace

// --- Symbols that take the place of the C library's ----------------------------------------------

// Between vfork and exec a child has no handlers any more; what it may write then comes here.
extern "C" ssize_t write(int file, const void* data, size_t size) {
    const long a = file, b = reinterpret_cast<long>(data), c = static_cast<long>(size);
    const int saved = errno;
    const long done = left ? guarded(SYS_write, a, b, c, 0, 0) : call(SYS_write, a, b, c, 0, 0);
    errno = done < 0 ? static_cast<int>(-done) : saved;
    return done < 0 ? -1 : done;
}

// Free space, as programs ask for it beforehand.
extern "C" int statvfs64(const char* path, struct statvfs64* status) noexcept {
    char real[PATH_MAX];
    const bool here = realpath(path, real) && inside(real, static_cast<ssize_t>(strlen(real)));
    const int file = open(path, O_PATH | O_CLOEXEC);
    if (file < 0) return -1;
    const int result = fstatvfs64(file, status);
    const int saved = errno;
    close(file);
    errno = saved;
    return report(result, here, status);
}

extern "C" int statvfs(const char* path, struct statvfs* status) noexcept {
    static_assert(sizeof(struct statvfs) == sizeof(struct statvfs64), "64 bits");
    return statvfs64(path, reinterpret_cast<struct statvfs64*>(status));
}

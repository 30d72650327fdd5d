/* What the launcher needs of the kernel: system calls, without a C library. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define EPERM 1
#define EBADF 9
#define EINVAL 22
#define ENAMETOOLONG 36
#define ELOOP 40

#define AT_FDCWD (-100)
#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_EMPTY_PATH 0x1000
#define AT_RECURSIVE 0x8000

#define O_RDONLY 0
#define O_WRONLY 1
#define O_CLOEXEC 02000000
#define O_PATH 010000000

#define S_IFMT 0170000
#define S_IFDIR 0040000
#define S_IFREG 0100000
#define S_IFLNK 0120000

#define MS_RDONLY 1
#define MS_NOSUID 2
#define MS_NODEV 4
#define MS_NOEXEC 8
#define MS_BIND 4096
#define MS_REC 16384
#define MS_PRIVATE (1 << 18)
#define MS_SLAVE (1 << 19)
#define MNT_DETACH 2
#define OPEN_TREE_CLONE 1
#define MOVE_MOUNT_F_EMPTY_PATH 0x4
#define MOVE_MOUNT_T_EMPTY_PATH 0x40
#define MOVE_MOUNT_SET_GROUP 0x100

#define CLONE_VM 0x100
#define CLONE_FILES 0x400
#define CLONE_VFORK 0x4000
#define CLONE_NEWNS 0x20000
#define CLONE_NEWUSER 0x10000000
#define WALL 0x40000000

#define SIG_SETMASK 2
#define PR_SET_DUMPABLE 4
#define CAP_VERSION 0x20080522
#define CAP_SYS_ADMIN 21
#define CAP_WAKE_ALARM 35

#define AT_UID 11
#define AT_EUID 12
#define AT_GID 13
#define AT_EGID 14
#define AT_SECURE 23
#define AT_EXECFN 31

#if defined(__x86_64__)
#define MAX_PAGE 4096
#define O_DIRECTORY 0200000
#define O_NOFOLLOW 0400000
enum {
	SYS_read = 0, SYS_write = 1, SYS_close = 3, SYS_rt_sigprocmask = 14, SYS_clone = 56, SYS_execve = 59, SYS_wait4 = 61,
	SYS_getcwd = 79, SYS_chdir = 80, SYS_fchdir = 81, SYS_capget = 125, SYS_capset = 126, SYS_statfs = 137,
	SYS_prctl = 157, SYS_mount = 165, SYS_umount2 = 166, SYS_getdents64 = 217, SYS_exit_group = 231,
	SYS_openat = 257, SYS_mkdirat = 258, SYS_mknodat = 259, SYS_symlinkat = 266, SYS_readlinkat = 267,
	SYS_unshare = 272, SYS_setns = 308, SYS_statx = 332, SYS_open_tree = 428, SYS_move_mount = 429, SYS_listmount = 458,
};

static inline long sys(long n, long a, long b, long c, long d, long e)
{
	long r;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	__asm__ volatile("syscall" : "=a"(r) : "0"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return r;
}

/* spawn starts a process that shares this one's memory, and runs fn on a stack of its own. */
static inline long spawn(long flags, void *stack, int (*fn)(void))
{
	long r;
	register long r10 __asm__("r10") = 0;
	register long r8 __asm__("r8") = 0;
	__asm__ volatile(
		"syscall\n\t"
		"test %%rax, %%rax\n\t"
		"jnz 1f\n\t"
		"xor %%ebp, %%ebp\n\t"
		"call *%[fn]\n\t"
		"mov %%eax, %%edi\n\t"
		"mov %[exit], %%eax\n\t"
		"syscall\n"
		"1:"
		: "=a"(r)
		: "0"((long)SYS_clone), "D"(flags), "S"(stack), "d"(0L), "r"(r10), "r"(r8), [fn] "b"(fn), [exit] "i"(SYS_exit_group)
		: "rcx", "r11", "memory");
	return r;
}

__asm__(
	".globl _start\n"
	"_start:\n\t"
	"xor %ebp, %ebp\n\t"
	"mov %rsp, %rdi\n\t"
	"and $-16, %rsp\n\t"
	"call start\n\t"
	"hlt\n");

#elif defined(__aarch64__)
#define MAX_PAGE 65536
#define O_DIRECTORY 040000
#define O_NOFOLLOW 0100000
enum {
	SYS_getcwd = 17, SYS_mknodat = 33, SYS_mkdirat = 34, SYS_symlinkat = 36, SYS_umount2 = 39,
	SYS_mount = 40, SYS_statfs = 43, SYS_chdir = 49, SYS_fchdir = 50, SYS_openat = 56, SYS_close = 57,
	SYS_getdents64 = 61, SYS_read = 63, SYS_write = 64, SYS_readlinkat = 78, SYS_capget = 90, SYS_capset = 91,
	SYS_exit_group = 94, SYS_unshare = 97, SYS_rt_sigprocmask = 135, SYS_prctl = 167, SYS_clone = 220, SYS_execve = 221, SYS_wait4 = 260,
	SYS_setns = 268, SYS_statx = 291, SYS_open_tree = 428, SYS_move_mount = 429, SYS_listmount = 458,
};

static inline long sys(long n, long a, long b, long c, long d, long e)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
}

/* spawn starts a process that shares this one's memory, and runs fn on a stack of its own. */
static inline long spawn(long flags, void *stack, int (*fn)(void))
{
	register long x8 __asm__("x8") = SYS_clone;
	register long x0 __asm__("x0") = flags;
	register long x1 __asm__("x1") = (long)stack;
	register long x2 __asm__("x2") = 0;
	register long x3 __asm__("x3") = 0;
	register long x4 __asm__("x4") = 0;
	register long x9 __asm__("x9") = (long)fn;
	__asm__ volatile(
		"svc 0\n\t"
		"cbnz x0, 1f\n\t"
		"mov x29, xzr\n\t"
		"blr x9\n\t"
		"mov x8, %[exit]\n\t"
		"svc 0\n"
		"1:"
		: "+r"(x0)
		: "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x9), [exit] "i"(SYS_exit_group)
		: "memory");
	return x0;
}

__asm__(
	".globl _start\n"
	"_start:\n\t"
	"mov x29, xzr\n\t"
	"mov x30, xzr\n\t"
	"mov x0, sp\n\t"
	"bl start\n\t"
	"brk 1\n");

#else
#error "no launcher for this machine"
#endif

#define SYS1(n, a) sys(n, (long)(a), 0, 0, 0, 0)
#define SYS2(n, a, b) sys(n, (long)(a), (long)(b), 0, 0, 0)
#define SYS3(n, a, b, c) sys(n, (long)(a), (long)(b), (long)(c), 0, 0)
#define SYS4(n, a, b, c, d) sys(n, (long)(a), (long)(b), (long)(c), (long)(d), 0)
#define SYS5(n, a, b, c, d, e) sys(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))

#define STATX_BASIC 0x7ff
#define STATX_MNT_ID_UNIQUE 0x4000

struct statx {
	u32 mask, blksize;
	u64 attributes;
	u32 nlink, uid, gid;
	u16 mode, pad0;
	u64 ino, size, blocks, attributes_mask;
	u64 times[8];
	u32 rdev_major, rdev_minor, dev_major, dev_minor;
	u64 mount_id, pad1[13];
};

struct mount_id_request {
	u32 size, spare;
	u64 mount_id, param;
};

struct statfs {
	u64 type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen, frsize, flags, spare[4];
};

struct dirent {
	u64 ino, off;
	u16 reclen;
	u8 type;
	char name[];
};

struct cap_header { u32 version; int pid; };
struct cap_data { u32 effective, permitted, inheritable; };

static inline long open_at(int dir, const char *path, long flags) { return SYS4(SYS_openat, dir, path, flags | O_CLOEXEC, 0); }
static inline void close_fd(long fd) { SYS1(SYS_close, fd); }
static inline long stat_at(int dir, const char *path, long flags, struct statx *st)
{
	return SYS5(SYS_statx, dir, path, flags, STATX_BASIC, st);
}
static inline long mount(const char *source, const char *target, const char *type, u64 flags, const char *data)
{
	return SYS5(SYS_mount, source, target, type, flags, data);
}

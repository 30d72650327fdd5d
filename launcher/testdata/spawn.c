// Starts a process as the launcher does, but for the namespaces, which qemu has not.
#include "../src/sys.h"

void *memset(void *to, int c, u64 n)
{
	for (u64 i = 0; i < n; i++)
		((volatile char *)to)[i] = (char)c;
	return to;
}

#define SIGCHLD 17 /* which qemu wants */

static char stack[64 << 10] __attribute__((aligned(64)));
static int seen_in_child;

static int in_child(void)
{
	volatile char used[4096];
	memset((void *)used, 1, sizeof used);
	if ((char *)used < stack || (char *)used >= stack + sizeof stack)
		return 1;
	seen_in_child = 1;
	return 42;
}

__attribute__((noreturn, used)) void start(u64 *args)
{
	u32 status = 0;
	volatile u64 kept = args[0];
	long pid = spawn(SIGCHLD | CLONE_VM | CLONE_VFORK, stack + sizeof stack, in_child);
	long r = SYS4(SYS_wait4, pid, &status, WALL, 0);
	int code = pid > 0 && r == pid && status == 42 << 8 && kept == args[0] ? 0 : 1;
#ifdef SHARED_MEMORY
	if (!seen_in_child)
		code = 2;
#endif
	for (;;)
		SYS1(SYS_exit_group, code);
}

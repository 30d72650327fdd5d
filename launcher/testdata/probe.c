// probe does what its arguments say, one after another, and prints what it found. It
// is static, so that it runs in a root that has nothing else.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void failed(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
}

static void print_file(const char *path)
{
	char buf[4096];
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		failed(path);
		return;
	}
	fflush(stdout);
	while ((n = read(fd, buf, sizeof buf)) > 0)
		if (write(1, buf, n) != n)
			exit(3);
	close(fd);
}

static void print_status(const char *field)
{
	char line[256];
	FILE *f = fopen("/proc/self/status", "re");
	while (f && fgets(line, sizeof line, f))
		if (!strncmp(line, field, strlen(field)))
			printf("%s", line);
	if (f)
		fclose(f);
}

static void print_link(const char *path)
{
	char buf[PATH_MAX];
	ssize_t n = readlink(path, buf, sizeof buf - 1);
	if (n < 0) {
		failed(path);
		return;
	}
	buf[n] = 0;
	printf("%s\n", buf);
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

// fits says whether a file can be run with these arguments.
static int fits(const char *file, char **args)
{
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		close(1);
		execv(file, args);
		_exit(7);
	}
	return waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) != 7;
}

int main(int argc, char **argv)
{
	char buf[PATH_MAX];
	struct stat st;
	for (int i = 1; i < argc; i++) {
		const char *arg = i + 1 < argc ? argv[i + 1] : "";
		if (!strcmp(argv[i], "argv0")) {
			printf("%s\n", argv[0]);
		} else if (!strcmp(argv[i], "cwd")) {
			if (getcwd(buf, sizeof buf))
				printf("%s\n", buf);
			else
				failed("getcwd");
		} else if (!strcmp(argv[i], "ids")) {
			printf("%d %d %d %d\n", getuid(), geteuid(), getgid(), getegid());
		} else if (!strcmp(argv[i], "caps")) {
			print_status("CapInh");
			print_status("CapPrm");
			print_status("CapEff");
			print_status("CapAmb");
		} else if (!strcmp(argv[i], "signals")) {
			print_status("SigBlk");
			print_status("SigIgn");
		} else if (!strcmp(argv[i], "umask")) {
			mode_t m = umask(0);
			umask(m);
			printf("%04o\n", m);
		} else if (!strcmp(argv[i], "nofile")) {
			struct rlimit r;
			getrlimit(RLIMIT_NOFILE, &r);
			printf("%lu\n", (unsigned long)r.rlim_cur);
		} else if (!strcmp(argv[i], "set-nofile")) {
			struct rlimit r = {atoi(arg), 4096};
			if (setrlimit(RLIMIT_NOFILE, &r))
				failed("setrlimit");
			i++;
		} else if (!strcmp(argv[i], "pid")) {
			printf("%d %d %d %d\n", getpid(), getppid(), getpgrp(), getsid(0));
		} else if (!strcmp(argv[i], "children")) {
			printf("%s\n", waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD ? "none" : "some");
		} else if (!strcmp(argv[i], "fds")) {
			for (int fd = 0; fd < 1024; fd++)
				if (fcntl(fd, F_GETFD) >= 0)
					printf("%d ", fd);
			printf("\n");
		} else if (!strcmp(argv[i], "close")) {
			close(atoi(arg));
			i++;
		} else if (!strcmp(argv[i], "cat")) {
			print_file(arg);
			i++;
		} else if (!strcmp(argv[i], "link")) {
			print_link(arg);
			i++;
		} else if (!strcmp(argv[i], "realpath")) {
			if (realpath(arg, buf))
				printf("%s\n", buf);
			else
				failed(arg);
			i++;
		} else if (!strcmp(argv[i], "ls")) {
			struct dirent **names;
			int n = scandir(arg, &names, NULL, by_name);
			if (n < 0)
				failed(arg);
			for (int j = 0; j < n; j++)
				if (names[j]->d_name[0] != '.')
					printf("%s ", names[j]->d_name);
			if (n >= 0)
				printf("\n");
			i++;
		} else if (!strcmp(argv[i], "mounts")) { // where something is mounted
			char line[PATH_MAX], where[PATH_MAX];
			FILE *f = fopen("/proc/self/mountinfo", "re");
			while (f && fgets(line, sizeof line, f))
				if (sscanf(line, "%*s %*s %*s %*s %s", where) == 1)
					printf("%s\n", where);
			if (f)
				fclose(f);
		} else if (!strcmp(argv[i], "type")) {
			if (lstat(arg, &st))
				failed(arg);
			else
				printf("%06o %d\n", st.st_mode, st.st_uid);
			i++;
		} else if (!strcmp(argv[i], "inode")) {
			if (stat(arg, &st))
				failed(arg);
			else
				printf("%lx:%lu\n", (unsigned long)st.st_dev, (unsigned long)st.st_ino);
			i++;
		} else if (!strcmp(argv[i], "write")) {
			int fd = open(arg, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
			if (fd < 0)
				failed(arg);
			else
				printf("%s\n", write(fd, "written\n", 8) == 8 ? "ok" : "short");
			close(fd);
			i++;
		} else if (!strcmp(argv[i], "chdir")) {
			if (chdir(arg))
				failed(arg);
			i++;
		} else if (!strcmp(argv[i], "rmdir")) {
			if (rmdir(arg))
				failed(arg);
			i++;
		} else if (!strcmp(argv[i], "mount")) {
			if (mount("probe", arg, "tmpfs", 0, ""))
				failed(arg);
			i++;
		} else if (!strcmp(argv[i], "umount")) {
			if (umount2(arg, MNT_DETACH))
				failed(arg);
			i++;
		} else if (!strcmp(argv[i], "bind")) { // FROM TO
			if (i + 2 >= argc || mount(arg, argv[i + 2], "", MS_BIND, ""))
				failed(arg);
			i += 2;
		} else if (!strcmp(argv[i], "join")) { // the namespaces of a process
			for (int user = 1; user >= 0; user--) {
				struct stat own;
				snprintf(buf, sizeof buf, "/proc/%s/ns/%s", arg, user ? "user" : "mnt");
				int fd = open(buf, O_RDONLY | O_CLOEXEC);
				if (fd < 0 || fstat(fd, &st) || stat(user ? "/proc/self/ns/user" : "/proc/self/ns/mnt", &own) ||
				    (st.st_ino != own.st_ino && setns(fd, 0)))
					failed(buf);
				close(fd);
			}
			i++;
		} else if (!strcmp(argv[i], "silent")) { // mounts a file system that never answers
			char options[100];
			snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%d,group_id=%d", open("/dev/fuse", O_RDWR), getuid(), getgid());
			if (mount("probe", arg, "fuse", 0, options))
				failed(arg);
			i++;
		} else if (!strcmp(argv[i], "print")) {
			printf("%s\n", arg);
			i++;
		} else if (!strcmp(argv[i], "environment")) {
			for (char **e = environ; *e; e++)
				printf("%s\n", *e);
		} else if (!strcmp(argv[i], "priority")) {
			printf("%d\n", getpriority(PRIO_PROCESS, 0));
		} else if (!strcmp(argv[i], "pid-kept")) { // FILE prints what `pid` prints
			int status, out[2];
			pid_t pid;
			if (pipe(out) || (pid = fork()) < 0)
				return 2;
			if (pid == 0) {
				dup2(out[1], 1);
				execl(arg, arg, "pid", NULL);
				_exit(9);
			}
			waitpid(pid, &status, 0);
			buf[read(out[0], buf, sizeof buf - 1)] = 0;
			char want[100];
			snprintf(want, sizeof want, "%d %d %d %d\n", pid, getpid(), getpgrp(), getsid(0));
			printf("%s\n", strcmp(buf, want) ? buf : "same");
			i++;
		} else if (!strcmp(argv[i], "set-up")) { // all that a program inherits, in another state than usual
			struct rlimit r = {123, 200};
			sigset_t s;
			sigemptyset(&s);
			sigaddset(&s, SIGUSR1);
			sigprocmask(SIG_BLOCK, &s, NULL);
			signal(SIGUSR2, SIG_IGN);
			signal(SIGCHLD, SIG_IGN);
			umask(027);
			if (setrlimit(RLIMIT_NOFILE, &r) || nice(3) < 0 || dup2(1, 77) < 0)
				failed("set up");
		} else if (!strcmp(argv[i], "no-new-privs")) {
			if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
				failed("prctl");
		} else if (!strcmp(argv[i], "traced")) { // the rest is run by a child that is traced
			int status;
			pid_t pid = fork();
			if (pid == 0) {
				ptrace(PTRACE_TRACEME, 0, 0, 0);
				execv(argv[i + 1], argv + i + 1);
				_exit(9);
			}
			while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status))
				ptrace(PTRACE_CONT, pid, 0, WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status));
			return WEXITSTATUS(status);
		} else if (!strcmp(argv[i], "stopped")) { // the rest is run by a child, whose children are sent SIGTSTP
			int status;
			unsigned long message;
			pid_t pid, first = fork(), last = 0;
			if (first == 0) {
				ptrace(PTRACE_TRACEME, 0, 0, 0);
				execv(argv[i + 1], argv + i + 1);
				_exit(9);
			}
			while ((pid = waitpid(-1, &status, __WALL)) > 0) {
				if (pid == first && !WIFSTOPPED(status))
					return last ? WEXITSTATUS(status) : 8;
				if (!WIFSTOPPED(status))
					continue;
				int sig = WSTOPSIG(status);
				ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_EXITKILL);
				if (status >> 16 && !ptrace(PTRACE_GETEVENTMSG, pid, 0, &message))
					kill(last = message, SIGTSTP);
				if (sig == SIGTSTP) {
					printf("it stops\n");
					return 7;
				}
				ptrace(PTRACE_CONT, pid, 0, sig == SIGTRAP || sig == SIGSTOP ? 0 : sig);
			}
			return 6;
		} else if (!strcmp(argv[i], "exit")) {
			fflush(stdout);
			_exit(atoi(arg));
		} else if (!strcmp(argv[i], "kill")) {
			fflush(stdout);
			kill(getpid(), atoi(arg));
			i++;
		} else if (!strcmp(argv[i], "wait")) { // says that it is there, and waits for its standard input's end
			printf("here\n");
			fflush(stdout);
			while (read(0, buf, sizeof buf) > 0)
				;
		} else if (!strcmp(argv[i], "exec")) {
			fflush(stdout);
			execv(arg, argv + i + 1);
			failed(arg);
			return 9;
		} else if (!strcmp(argv[i], "exec-as")) { // FILE ARGV0 ARGS...
			fflush(stdout);
			execv(arg, argv + i + 2);
			failed(arg);
			return 9;
		} else if (!strcmp(argv[i], "exec-nothing")) {
			char *none[1] = {NULL};
			execv(arg, none);
			failed(arg);
			return 9;
		} else if (!strcmp(argv[i], "exec-full")) { // FILE ARGV0 ARGS..., and as many more as there is room for
			enum { one = 128 << 10 };
			static char *args[4096];
			int n = 0;
			for (int k = i + 2; k < argc; k++)
				args[n++] = argv[k];
			fflush(stdout);
			do {
				args[n] = malloc(one);
				memset(args[n], 'x', one - 1);
				args[n++][one - 1] = 0;
			} while (fits(arg, args));
			char *last = args[n - 1];
			int low = 0, high = one - 2;
			while (low < high) {
				int middle = (low + high + 1) / 2;
				args[n - 1] = last + (one - 1 - middle);
				if (fits(arg, args))
					low = middle;
				else
					high = middle - 1;
			}
			args[n - 1] = last + (one - 1 - low);
			execv(arg, args);
			failed(arg);
			return 9;
		} else if (argv[i][0] == 'x' && argv[i][1] == 'x') {
			printf("and more\n");
			return 0;
		} else {
			printf("unknown: %s\n", argv[i]);
			return 2;
		}
	}
	fflush(stdout);
	return 0;
}

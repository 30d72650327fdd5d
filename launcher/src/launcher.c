/*
 * The launcher of a view. The comment of Go package launcher says what a view is,
 * and what this program promises. It is one program with a configuration of its own,
 * and runs as whoever calls it, with root's rights, or with one capability; so it reads
 * nothing of its caller but the number and the first of its arguments.
 */

#include "sys.h"

/* The configuration: strings that end with a zero byte, in the order of `start`. */
__asm__(
	".pushsection .note.hashpkg, \"a\", %note\n\t"
	".balign 4\n\t"
	".long 16, 4096, 1\n\t"
	".ascii \"hashpkg-launcher\"\n"
	"config:\n\t"
	".zero 4096\n\t"
	".popsection\n");
extern const char config[];

static const char *view;     /* the view's directory, or a link to it */
static const char *host;     /* holds `usr` and `view`, two empty directories outside of a view */
static const char *program;  /* what is run in the view */
static const char *fallback; /* what is run without one; "": nothing */
static const char *prefix;   /* where trees stand */
static const char *keep;     /* "1": argv[0] stays as it is; else "" */
static const char *own;      /* what is run where fallback is not there; "": nothing */
static const char *libs;     /* "1": the view's libraries are seen, too; "linker": and the program links against them; else "" */
static const char *more;     /* other views, with colons between them, of which names come after those of view; or "" */

static const char *near;     /* host, as a path that is good while directories are covered */

static const char *called = ""; /* the path by which this program was executed */

static int lent;        /*  whether CAP_SYS_ADMIN came with this file, for this caller */
static int nested;     /* whether the caller is in another view */
static int own_userns; /* whether the namespace is a user's: mounts of the host cannot be taken apart there */
static u64 uid, gid;

/* ---- what every C program has ---- */

#define PATH 4096

__attribute__((optimize("no-tree-loop-distribute-patterns"))) void *memset(void *to, int c, u64 n)
{
	for (u64 i = 0; i < n; i++)
		((char *)to)[i] = (char)c;
	return to;
}

__attribute__((optimize("no-tree-loop-distribute-patterns"))) void *memcpy(void *to, const void *from, u64 n)
{
	for (u64 i = 0; i < n; i++)
		((char *)to)[i] = ((const char *)from)[i];
	return to;
}

static u64 length(const char *s)
{
	u64 n = 0;
	while (s[n])
		n++;
	return n;
}

static int equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* below returns what follows dir and a slash in path, or 0. */
static const char *below(const char *path, const char *dir)
{
	while (*dir && *path == *dir)
		path++, dir++;
	return !*dir && *path == '/' ? path + 1 : 0;
}

static const char *last_slash(const char *s)
{
	const char *slash = 0;
	for (; *s; s++)
		if (*s == '/')
			slash = s;
	return slash;
}

/* A text that grows in a buffer, and says when it was too long. */
struct text {
	char s[PATH];
	u64 n;
	int cut;
};

static void add_char(struct text *t, char c)
{
	if (t->n + 1 >= PATH) {
		t->cut = 1;
		return;
	}
	t->s[t->n++] = c;
	t->s[t->n] = 0;
}

static void add(struct text *t, const char *s)
{
	while (*s)
		add_char(t, *s++);
}

static void set(struct text *t, const char *s)
{
	t->n = 0;
	t->cut = 0;
	t->s[0] = 0;
	add(t, s);
}

/* ---- how it ends ---- */

/* The step that failed, where, and its error: a negative number of the kernel. */
static const char *failed;
static char failed_at[PATH];
static long failed_with;

static long fail(const char *what, const char *where, long error)
{
	u64 i = 0;
	for (; where[i] && i + 1 < sizeof failed_at; i++)
		failed_at[i] = where[i];
	failed_at[i] = 0;
	failed = what;
	failed_with = error;
	return error;
}

static const char *error_name(long error, char *number)
{
	static const struct { u8 n; char name[15]; } names[] = {
		{1, "EPERM"}, {2, "ENOENT"}, {5, "EIO"}, {7, "E2BIG"}, {8, "ENOEXEC"}, {11, "EAGAIN"}, {12, "ENOMEM"},
		{13, "EACCES"}, {20, "ENOTDIR"}, {22, "EINVAL"}, {24, "EMFILE"}, {28, "ENOSPC"}, {30, "EROFS"},
		{36, "ENAMETOOLONG"}, {38, "ENOSYS"}, {40, "ELOOP"}, {87, "EUSERS"},
	};
	error = -error;
	for (u64 i = 0; i < sizeof names / sizeof *names; i++)
		if (names[i].n == error)
			return names[i].name;
	char *p = number + 23;
	*p = 0;
	do
		*--p = (char)('0' + error % 10);
	while ((error /= 10) > 0 && p > number);
	return p;
}

/* add_reason adds "STEP PLACE: ERROR". */
static void add_reason(struct text *line)
{
	char number[24];
	add(line, failed);
	if (*failed_at) {
		add(line, " ");
		add(line, failed_at);
	}
	if (failed_with) {
		add(line, ": ");
		add(line, error_name(failed_with, number));
	}
}

/* say writes one line: "PROGRAM: before (STEP PLACE: ERROR)after". No file that can be written to is open of ours. */
static void say(const char *before, const char *after)
{
	static struct text line;
	const char *slash = last_slash(program);
	set(&line, slash ? slash + 1 : program);
	add(&line, ": ");
	add(&line, before);
	add(&line, " (");
	add_reason(&line);
	add(&line, ")");
	add(&line, after);
	line.s[line.n++] = '\n';
	SYS3(SYS_write, 2, line.s, line.n);
}

__attribute__((noreturn)) static void end(int status)
{
	for (;;)
		SYS1(SYS_exit_group, status);
}

__attribute__((noreturn)) static void refuse(void)
{
	say("it was not started", "");
	end(126);
}

/* ---- what the program is told of its name ---- */

static int same_file(const struct statx *a, const struct statx *b)
{
	return a->ino == b->ino && a->dev_major == b->dev_major && a->dev_minor == b->dev_minor;
}

/* stands_in_prefix says whether the directory of a path is the prefix, or below it. */
static int stands_in_prefix(const char *path)
{
	static struct text dir;
	struct statx want, is, was;
	const char *slash = last_slash(path), *rest = below(path, prefix);
	if (rest) /* which is so, if it does not lead up again */
		while (*rest && !(rest[0] == '.' && rest[1] == '.'))
			rest++;
	if (rest && !*rest)
		return 1;
	set(&dir, "");
	for (const char *p = path; p <= slash; p++)
		add_char(&dir, *p);
	if (dir.cut || stat_at(AT_FDCWD, prefix, 0, &want) < 0)
		return 0;
	long fd = open_at(AT_FDCWD, dir.s, O_PATH | O_DIRECTORY);
	if (fd < 0)
		return 0;
	int found = 0;
	was.ino = 0;
	for (int depth = 0; depth < 200; depth++) {
		if (stat_at((int)fd, "", AT_EMPTY_PATH, &is) < 0)
			break;
		if (same_file(&is, &want)) {
			found = 1;
			break;
		}
		if (depth > 0 && same_file(&is, &was)) /* the root's parent is itself */
			break;
		was = is;
		long up = open_at((int)fd, "..", O_PATH | O_DIRECTORY);
		if (up < 0)
			break;
		close_fd(fd);
		fd = up;
	}
	close_fd(fd);
	return found;
}

/*
 * name_for returns what argv[0] becomes when file is run: the name beside file, where
 * the caller's name is a command's, or leads below the prefix, and there is one.
 */
static char *name_for(char *name, const char *file)
{
	static struct text beside;
	struct statx st;
	const char *slash = last_slash(name);
	if (slash && !stands_in_prefix(name))
		return name;
	const char *base = slash ? slash + 1 : name;
	const char *dir = last_slash(file);
	set(&beside, "");
	if (*base) {
		for (const char *p = file; p <= dir; p++)
			add_char(&beside, *p);
		add(&beside, base);
	} else {
		add(&beside, file);
	}
	if (beside.cut || stat_at(AT_FDCWD, beside.s, 0, &st) < 0)
		return name;
	return beside.s;
}

/* run replaces this program. It returns only when that failed. */
static long run(const char *file, char **argv, char **envp)
{
	char *one[2] = {(char *)file, 0};
	if (!argv[0]) /* kernels before 5.18 let a caller pass nothing */
		return SYS3(SYS_execve, file, one, envp);
	char *name = argv[0];
	if (!*keep)
		argv[0] = name_for(name, file);
	long r = SYS3(SYS_execve, file, argv, envp);
	argv[0] = name;
	return r;
}

/* ---- rights ---- */

/* drop gives back the capability that came with this file. */
static void drop(void)
{
	struct cap_header header = {CAP_VERSION, 0};
	struct cap_data none[2] = {{0, 0, 0}, {0, 0, 0}};
	if (!lent)
		return;
	long r = SYS2(SYS_capset, &header, none); /* with which the ambient ones go */
	if (r < 0) {
		fail("capset", "", r);
		refuse();
	}
}

/*
 * roots_alone says whether nobody but root can change where a path leads: it goes by
 * hand along each name and each link.
 */
static int roots_alone(const char *path)
{
	static char rest[2 * PATH], target[PATH];
	struct statx st;
	u64 at = sizeof rest - 1 - length(path);
	long next, n;
	int links = 0;
	memcpy(rest + at, path, length(path) + 1);
	long dir = open_at(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
	for (;;) {
		if (dir < 0 || stat_at((int)dir, "", AT_EMPTY_PATH, &st) < 0 || st.uid != 0 || (st.mode & 022))
			break;
		while (rest[at] == '/')
			at++;
		if (!rest[at]) {
			close_fd(dir);
			return 1;
		}
		char *name = rest + at;
		while (rest[at] && rest[at] != '/')
			at++;
		int last = !rest[at];
		if (!last)
			rest[at++] = 0;
		next = open_at((int)dir, name, O_PATH | O_NOFOLLOW);
		if (next < 0 || stat_at((int)next, "", AT_EMPTY_PATH, &st) < 0)
			break;
		if ((st.mode & S_IFMT) == S_IFLNK) {
			n = SYS4(SYS_readlinkat, next, "", target, sizeof target);
			close_fd(next);
			if (st.uid != 0 || n <= 0 || n == sizeof target || ++links > 40 || (u64)n + 1 > at)
				break;
			/* What is left of the path follows the link's target. */
			if (last)
				at = sizeof rest - 1;
			else
				rest[--at] = '/';
			at -= (u64)n;
			memcpy(rest + at, target, (u64)n);
			if (target[0] != '/')
				continue;
			next = open_at(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
		}
		close_fd(dir);
		dir = next;
	}
	fail("not root's alone:", path, 0);
	return 0;
}

/*
 * in_first_userns says whether this is the machine's own user namespace, which has
 * all ids. A capability is worth nothing to the machine in another one.
 */
static int in_first_userns(void)
{
	char map[64];
	long n, fd = open_at(AT_FDCWD, "/proc/self/uid_map", O_RDONLY);
	if (fd < 0)
		return 1;
	n = SYS3(SYS_read, fd, map, sizeof map - 1);
	close_fd(fd);
	if (n <= 0)
		return 1;
	map[n - 1] = 0;
	for (char *p = map; *p; p++)
		if (equal(p, " 4294967295"))
			return 1;
	return 0;
}

/* ---- mounts ---- */

/*
 * What was mounted, to be undone when a later step fails; and which mounts of the
 * host were cut off from it, to be joined with it again.
 */
static char undo_names[16384];
static u64 undo_used;
static char quiet_paths[32][1024];
static int quiet_count;

static long mounted(const char *target)
{
	u64 n = length(target) + 1;
	if (undo_used + n > sizeof undo_names) {
		SYS2(SYS_umount2, target, MNT_DETACH);
		return fail("mount", target, -ENAMETOOLONG);
	}
	memcpy(undo_names + undo_used, target, n);
	undo_used += n;
	return 0;
}

static void undo(void)
{
	while (undo_used > 0) {
		u64 n = undo_used - 1;
		while (n > 0 && undo_names[n - 1])
			n--;
		SYS2(SYS_umount2, undo_names + n, MNT_DETACH);
		undo_used = n;
	}
}

/*
 * quiet keeps what is mounted at or below path to this namespace: the mount that path
 * is on gets the host's mounts from then on, and passes none on. A user's namespace
 * is made so by the kernel.
 */
static long quiet(const char *path)
{
	static struct text up;
	if (own_userns)
		return 0;
	set(&up, path);
	for (int depth = 0; depth < 100; depth++) {
		long r = mount(0, up.s, 0, MS_SLAVE, 0);
		if (r == 0) {
			for (int i = 0; i < quiet_count; i++)
				if (equal(quiet_paths[i], up.s))
					return 0;
			if (quiet_count < 32 && up.n < sizeof quiet_paths[0])
				memcpy(quiet_paths[quiet_count++], up.s, up.n + 1);
			return 0;
		}
		if (r != -EINVAL)
			return fail("mount", path, r);
		add(&up, "/..");
		if (up.cut)
			break;
	}
	return fail("keep mounts from the host at", path, -EINVAL);
}

/*
 * rejoin makes the mounts that quiet cut off what they were, so that what the program
 * mounts is mounted for the host, as without a view. was_root leads to the host's.
 */
static void rejoin(long was_root)
{
	if (SYS5(SYS_move_mount, -1, "", -1, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH | MOVE_MOUNT_SET_GROUP) != -EBADF)
		return; /* before Linux 5.15: they stay cut off */
	for (int i = 0; i < quiet_count; i++) {
		long was = open_at((int)was_root, quiet_paths[i] + 1, O_PATH);
		if (was < 0)
			continue;
		if (mount(0, quiet_paths[i], 0, MS_PRIVATE, 0) == 0)
			SYS5(SYS_move_mount, was, "", AT_FDCWD, quiet_paths[i], MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_SET_GROUP);
		close_fd(was);
	}
}

static long bind(const char *from, const char *to, u64 recursive)
{
	long r = mount(from, to, 0, MS_BIND | recursive, 0);
	return r < 0 ? fail("mount", to, r) : mounted(to);
}

/* at returns DIR/REL, in one of eight buffers in turn. */
static const char *at(const char *root, const char *dir, const char *rel)
{
	static struct text ring[8];
	static int next;
	struct text *t = &ring[next++ & 7];
	set(t, root);
	add(t, dir);
	if (*rel) {
		add(t, "/");
		add(t, rel);
	}
	return t->s;
}

#define IN_VIEW(rel) at(near, "/view/usr", rel)
#define IN_LIBS(rel) at(near, "/view/libs/usr", rel)
#define LIBS_SEEN "/usr/lib/.hashpkg-libs" /* is there where the view's libraries are seen */
#define IN_HOST(rel) at(near, "/usr", rel)
#define IN_USR(rel) at("", "/usr", rel)

#ifndef MORE_FLAGS /* of mounts; see refresh.c */
#define MORE_FLAGS 0
#endif

static void add_escaped(struct text *t, const char *s)
{
	for (; *s; s++) {
		if (*s == ':' || *s == ',' || *s == '\\')
			add_char(t, '\\');
		add_char(t, *s);
	}
}

static u32 type_of(const char *path, long flags)
{
	struct statx st;
	return stat_at(AT_FDCWD, path, flags, &st) < 0 ? 0 : st.mode & S_IFMT;
}

/* overlay lays the view's directory rel over second, at target, read-only. */
static long overlay(const char *rel, const char *second, const char *target)
{
	static struct text options;
	struct statfs a, b;
	const char *first = IN_VIEW(rel), *above = 0;
	if (*libs && type_of(IN_LIBS(rel), AT_SYMLINK_NOFOLLOW) == S_IFDIR) {
		above = IN_LIBS(rel);
		if (type_of(first, AT_SYMLINK_NOFOLLOW) != S_IFDIR) {
			first = above;
			above = 0;
		}
	}
	long r = SYS2(SYS_statfs, first, &a);
	if (r < 0)
		return fail("statfs", first, r);
	r = SYS2(SYS_statfs, second, &b);
	if (r < 0)
		return fail("statfs", second, r);
	set(&options, "lowerdir=");
	if (above) {
		add_escaped(&options, above);
		add_char(&options, ':');
	}
	add_escaped(&options, first);
	add_char(&options, ':');
	add_escaped(&options, second);
	if (options.cut)
		return fail("mount", target, -ENAMETOOLONG);
	u64 flags = (b.flags & (MS_NOSUID | MS_NODEV | MS_NOEXEC)) | (a.flags & MS_NOEXEC) | MORE_FLAGS;
	r = mount("hashpkg", target, "overlay", MS_RDONLY | flags, options.s);
	return r < 0 ? fail("mount", target, r) : mounted(target);
}

/* join writes REL/NAME; it returns whether there was room. */
static int join(char *to, u64 size, const char *rel, const char *name)
{
	u64 n = length(rel), m = length(name);
	if (n + m + 2 > size)
		return 0;
	memcpy(to, rel, n);
	if (n > 0)
		to[n++] = '/';
	memcpy(to + n, name, m + 1);
	return 1;
}

#define REL 1024

/*
 * each calls fn with the name and the type of each entry of a directory, until one returns
 * less than 0. The type is 0 if the file system does not tell.
 */
static long each(const char *dir, const char *rel, long (*fn)(const char *rel, const char *name, u32 type))
{
	u64 buffer[128];
	long fd = open_at(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY), n, r = 0;
	if (fd < 0)
		return fail("open", dir, fd);
	while (r >= 0 && (n = SYS3(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
		for (long i = 0; r >= 0 && i < n;) {
			struct dirent *d = (struct dirent *)((char *)buffer + i);
			i += d->reclen;
			if (!equal(d->name, ".") && !equal(d->name, ".."))
				r = fn(rel, d->name, (u32)d->type << 12); /* DT_DIR << 12 is S_IFDIR */
		}
	if (r >= 0 && n < 0)
		r = fail("read", dir, n);
	close_fd(fd);
	return r < 0 ? r : 0;
}

/*
 * has_submounts says whether anything is mounted in the host's /usr, or could be:
 * kernels before 6.8 cannot tell. The list that submounts reads takes a while to make.
 */
static int has_submounts(void)
{
	struct statx st;
	struct mount_id_request request = {sizeof request, 0, 0, 0};
	u64 first;
	if (SYS5(SYS_statx, AT_FDCWD, IN_HOST(""), 0, STATX_MNT_ID_UNIQUE, &st) < 0 || !(st.mask & STATX_MNT_ID_UNIQUE))
		return 1;
	request.mount_id = st.mount_id;
	return SYS4(SYS_listmount, &request, &first, 1, 0) != 0;
}

/*
 * submounts calls fn with the path below the host's /usr of each mount there, outermost
 * first. Without /proc there are none that it could know of.
 */
static long submounts(const char *arg, long (*fn)(const char *arg, const char *rel))
{
	static char buffer[4096];
	static struct text path, usr;
	long fd = open_at(AT_FDCWD, "/proc/self/mountinfo", O_RDONLY), n, r = 0;
	int field = 0, octal = 0, value = 0;
	if (fd < 0)
		return 0;
	set(&usr, host);
	add(&usr, "/usr");
	set(&path, "");
	while (r >= 0 && (n = SYS3(SYS_read, fd, buffer, sizeof buffer)) > 0)
		for (long i = 0; r >= 0 && i < n; i++) {
			char c = buffer[i];
			if (c == '\n') {
				const char *rel = path.cut ? 0 : below(path.s, usr.s);
				if (rel && *rel)
					r = fn(arg, rel);
				field = 0;
				set(&path, "");
			} else if (c == ' ') {
				field++;
			} else if (field != 4) { /* the fifth is where it is mounted */
			} else if (octal > 0) {
				value = value * 8 + (c - '0');
				if (--octal == 0)
					add_char(&path, (char)value);
			} else if (c == '\\') {
				octal = 3;
				value = 0;
			} else {
				add_char(&path, c);
			}
		}
	close_fd(fd);
	return r;
}

static long stop_below(const char *dir, const char *rel) { return !*dir || below(rel, dir) ? -1 : 0; }

/* ---- the view ---- */

/* What the host has at REL/NAME, and the view. /usr/local is the host's alone. */
struct name {
	char path[REL];
	u32 host, view;
};

/* The names in the view's usr, each after its type, as far as there is room for them. */
static struct {
	u32 used, all_there;
	char names[2048];
} first_names;

static long keep_name(const char *rel, const char *name, u32 type)
{
	u64 n = length(name) + 1;
	(void)rel;
	if (!type || first_names.used + n + 1 > sizeof first_names.names)
		return -1;
	first_names.names[first_names.used++] = (char)(type >> 12);
	memcpy(first_names.names + first_names.used, name, n);
	first_names.used += (u32)n;
	return 0;
}

static void find_first_names(void)
{
	first_names.used = 0;
	first_names.all_there = (!*libs || each(IN_LIBS(""), "", keep_name) == 0) && each(IN_VIEW(""), "", keep_name) == 0;
}

static u32 type_in_view(const char *path)
{
	const char *p = first_names.names, *end = p + first_names.used;
	const char *slash = last_slash(path);
	if (slash || !first_names.all_there) {
		u32 type = *libs ? type_of(IN_LIBS(path), AT_SYMLINK_NOFOLLOW) : 0;
		return type ? type : type_of(IN_VIEW(path), AT_SYMLINK_NOFOLLOW);
	}
	for (; p < end; p += length(p + 1) + 2)
		if (equal(p + 1, path))
			return (u32)*p << 12;
	return 0;
}

static long look(struct name *n, const char *rel, const char *name, u32 type)
{
	if (!join(n->path, sizeof n->path, rel, name))
		return fail("mount", name, -ENAMETOOLONG);
	n->host = type ? type : type_of(IN_HOST(n->path), AT_SYMLINK_NOFOLLOW);
	n->view = type_in_view(n->path);
	if (equal(n->path, "local") && n->host == S_IFDIR)
		n->view = 0;
	return 0;
}

/* Mounts in a directory that was mounted itself go with it, if that is undone. */
static long inner(long r, u64 used)
{
	if (r >= 0)
		undo_used = used;
	return r;
}

/* /usr/sbin, or /usr/lib64, that leads to another directory of the host's, and is one in the view. */
static int is_joined_link(const struct name *n)
{
	return n->host == S_IFLNK && n->view == S_IFDIR && type_of(IN_HOST(n->path), 0) == S_IFDIR;
}

static long level(const char *rel);

/* real_name returns where the host's directory rel is below its /usr, as mounts there are named: the way may have links. */
static const char *real_name(const char *rel)
{
	static char target[PATH];
	static struct text link, usr;
	char number[24], *p = number + sizeof number - 1;
	long fd = open_at(AT_FDCWD, IN_HOST(rel), O_PATH | O_DIRECTORY), n;
	if (fd < 0)
		return rel;
	*p = 0;
	n = fd;
	do
		*--p = (char)('0' + n % 10);
	while (n /= 10);
	set(&link, "/proc/self/fd/");
	add(&link, p);
	n = SYS4(SYS_readlinkat, AT_FDCWD, link.s, target, sizeof target - 1);
	close_fd(fd);
	if (n <= 0)
		return rel;
	target[n] = 0;
	set(&usr, host);
	add(&usr, "/usr");
	const char *real = below(target, usr.s);
	return real ? real : rel;
}

/* What is mounted in the directory that a link of the host's leads to is shown by the link's name, too. */
static const char *link_name;
static struct text last_linked; /* what is mounted in that was bound with it */

static long show_linked(const char *dir, const char *rel)
{
	const char *rest = below(rel, dir);
	char target[PATH];
	if (!rest || (last_linked.n > 0 && below(rel, last_linked.s)))
		return 0;
	set(&last_linked, rel);
	if (!join(target, sizeof target, link_name, rest))
		return fail("mount", rel, -ENAMETOOLONG);
	return bind(IN_HOST(rel), IN_USR(target), MS_REC);
}

static long join_link(const struct name *n)
{
	static char dir[REL];
	long r = overlay(n->path, IN_HOST(n->path), IN_USR(n->path));
	if (r == -EINVAL || r == -ELOOP)
		return level(n->path);
	if (r < 0 || own_userns || !has_submounts())
		return r;
	if (!join(dir, sizeof dir, "", real_name(n->path)))
		return fail("mount", n->path, -ENAMETOOLONG);
	link_name = n->path;
	set(&last_linked, "");
	return submounts(dir, show_linked);
}

/*
 * Where an overlay with a directory of the host's cannot be had, level makes the
 * directory anew: names of the view, and beside them a mount for each of the host's.
 */
static long level_make(const char *rel, const char *name, u32 type)
{
	struct name n;
	char target[PATH];
	long r = look(&n, rel, name, type);
	if (r < 0)
		return r;
	switch (n.host) {
	case S_IFDIR:
		if (!n.view || n.view == S_IFDIR)
			r = SYS3(SYS_mkdirat, AT_FDCWD, IN_USR(n.path), 0755);
		break;
	case S_IFREG:
		if (!n.view)
			r = SYS4(SYS_mknodat, AT_FDCWD, IN_USR(n.path), S_IFREG | 0644, 0);
		break;
	case S_IFLNK:
		if (n.view)
			break;
		r = SYS4(SYS_readlinkat, AT_FDCWD, IN_HOST(n.path), target, sizeof target - 1);
		if (r < 0)
			break;
		target[r] = 0;
		r = SYS3(SYS_symlinkat, target, AT_FDCWD, IN_USR(n.path));
	}
	return r < 0 ? fail("make", IN_USR(n.path), r) : 0;
}

static long level_mount(const char *rel, const char *name, u32 type)
{
	struct name n;
	u64 used = undo_used;
	long r = look(&n, rel, name, type);
	if (r < 0)
		return r;
	if (n.host == S_IFDIR && n.view == S_IFDIR) {
		r = overlay(n.path, IN_HOST(n.path), IN_USR(n.path));
		if (r == -EINVAL || r == -ELOOP)
			r = level(n.path);
	} else if ((n.host == S_IFDIR || n.host == S_IFREG) && !n.view) {
		r = bind(IN_HOST(n.path), IN_USR(n.path), MS_REC);
	} else if (is_joined_link(&n)) {
		r = join_link(&n);
	}
	return inner(r, used);
}

static long level(const char *rel)
{
	struct text usr;
	int depth = 0;
	set(&usr, IN_USR(rel));
	for (const char *p = rel; *p; p++)
		depth += *p == '/';
	if (depth > 15) /* for the stack of a user's process */
		return fail("mount", usr.s, -ENAMETOOLONG);
	/* A user cannot look under the host's mounts, and a directory cannot be laid over one that it is in. */
	if (submounts(real_name(rel), stop_below) >= 0 && !below(prefix, usr.s))
		return failed_with; /* so it failed for another reason */
	long r = mount("hashpkg", usr.s, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
	if (r < 0)
		return fail("mount", usr.s, r);
	if ((r = mounted(usr.s)) < 0 || (r = each(IN_HOST(rel), rel, level_make)) < 0 ||
	    (r = overlay(rel, usr.s, usr.s)) < 0)
		return r;
	return each(IN_HOST(rel), rel, level_mount);
}

/* In an overlay that covers all of /usr, directories that the view has not are the host's own again. */
static long uncover(const char *rel, const char *name, u32 type)
{
	struct name n;
	u64 used = undo_used;
	long r = look(&n, rel, name, type);
	if (r < 0)
		return r;
	if (n.host == S_IFDIR && !n.view)
		r = bind(IN_HOST(n.path), IN_USR(n.path), MS_REC);
	else if (is_joined_link(&n))
		r = join_link(&n);
	return inner(r, used);
}

/*
 * Root's overlay hides what is mounted in the host's directories: it is put there again, with
 * what is mounted in it, which follows in the list.
 */
static long show_submount(const char *unused, const char *rel)
{
	static struct text last;
	struct name n;
	char first[REL];
	u64 used = undo_used, i = 0;
	(void)unused;
	if (last.n > 0 && below(rel, last.s))
		return 0;
	for (; rel[i] && rel[i] != '/' && i + 1 < sizeof first; i++)
		first[i] = rel[i];
	first[i] = 0;
	long r = look(&n, "", first, 0);
	if (r < 0 || n.view != S_IFDIR)
		return r;
	if (!rel[i]) /* the whole directory is a mount, of which the overlay has shown the place */
		return inner(overlay(rel, IN_HOST(rel), IN_USR(rel)), used);
	set(&last, rel);
	return inner(bind(IN_HOST(rel), IN_USR(rel), MS_REC), used);
}

static long cover(void)
{
	long r = overlay("", IN_HOST(""), "/usr");
	if (r == -EINVAL || r == -ELOOP)
		return level("");
	if (r < 0 || (r = each(IN_HOST(""), "", uncover)) < 0 || own_userns || !has_submounts())
		return r;
	return submounts("", show_submount);
}

/* What the view lays over trees: over/PACKAGE/TREE is the usr of that tree. */
static long over_tree(const char *package, const char *tree, u32 type)
{
	(void)type;
	static struct text from, to;
	long r;
	set(&from, near);
	add(&from, "/view/over/");
	add(&from, package);
	add(&from, "/");
	add(&from, tree);
	set(&to, prefix);
	add(&to, "/");
	add(&to, package);
	add(&to, "/");
	add(&to, tree);
	add(&to, "/usr");
	if (from.cut || to.cut)
		return fail("mount", to.s, -ENAMETOOLONG);
	if ((r = quiet(to.s)) < 0)
		return r;
	return bind(from.s, to.s, 0);
}

static long over_package(const char *rel, const char *name, u32 type)
{
	(void)rel, (void)type;
	return each(at(near, "/view/over", name), name, over_tree);
}

/* join_views shows several views as one. */
static long join_views(void)
{
	static struct text options;
	const char *target = at(near, "/view", "");
	set(&options, "lowerdir=");
	add_escaped(&options, view);
	add_char(&options, ':');
	add(&options, more);
	if (options.cut)
		return fail("mount", target, -ENAMETOOLONG);
	long r = mount("hashpkg", target, "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, options.s);
	return r < 0 ? fail("mount", target, r) : mounted(target);
}

static long lay(void)
{
	long r = 0, held = -1;
	if (!nested)
		r = bind("/usr", IN_HOST(""), MS_REC);
	if (r < 0 || (r = *more ? join_views() : bind(view, at(near, "/view", ""), 0)) < 0)
		return r;
	if (below(prefix, "/usr")) {
		held = SYS3(SYS_open_tree, AT_FDCWD, prefix, OPEN_TREE_CLONE | O_CLOEXEC | AT_RECURSIVE);
		if (held < 0)
			return fail("open_tree", prefix, held);
	}
	find_first_names();
	r = cover();
	if (r >= 0 && held >= 0) {
		r = SYS5(SYS_move_mount, held, "", AT_FDCWD, prefix, MOVE_MOUNT_F_EMPTY_PATH);
		r = r < 0 ? fail("mount", prefix, r) : mounted(prefix);
	}
	if (held >= 0)
		close_fd(held);
	if (r >= 0 && type_of(at(near, "/view/over", ""), AT_SYMLINK_NOFOLLOW) == S_IFDIR)
		r = each(at(near, "/view/over", ""), "", over_package);
	return r;
}

/* build makes the view, in a mount namespace that is ours, or leaves nothing there. */
static long build(void)
{
	long r, back = -1;
	if ((r = quiet(host)) < 0 || (r = quiet("/usr")) < 0)
		return r;
	if (below(prefix, "/usr")) { /* and the host's directory will be covered */
		back = open_at(AT_FDCWD, ".", O_PATH | O_DIRECTORY);
		if (back < 0)
			return fail("open", "the working directory", back);
		r = SYS1(SYS_chdir, host);
		if (r < 0)
			return fail("chdir", host, r);
		near = ".";
	}
	r = lay();
	if (r < 0)
		undo();
	if (back >= 0) {
		SYS1(SYS_fchdir, back);
		close_fd(back);
		near = host;
	}
	return r;
}

/* ---- the working directory ---- */

static char cwd[PATH];

/* A directory that the view covers is left for the view's of the same path. */
static void find_cwd(void)
{
	long r = SYS2(SYS_getcwd, cwd, sizeof cwd);
	if (r < 0 || !(equal(cwd, "/usr") || below(cwd, "/usr") || below(cwd, prefix)))
		cwd[0] = 0;
}

static void enter_cwd(void)
{
	if (cwd[0])
		SYS1(SYS_chdir, cwd);
}

/* ---- as root, or with the capability ---- */

static long enter_as_root(void)
{
	long was_root = open_at(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
	if (was_root < 0)
		return fail("open", "/", was_root);
	/* Nobody else may be in the namespace that is left, and its mounts are needed until the end. */
	long was = open_at(AT_FDCWD, "/proc/self/ns/mnt", O_RDONLY);
	long r = SYS1(SYS_unshare, CLONE_NEWNS);
	if (r < 0) {
		fail("unshare", "", r);
	} else {
		r = build();
		rejoin(was_root);
		if (r >= 0)
			enter_cwd();
	}
	close_fd(was_root);
	if (was >= 0)
		close_fd(was);
	return r;
}

/* ---- as a user ---- */

static long write_map(const char *path, const char *what)
{
	long fd = open_at(AT_FDCWD, path, O_WRONLY), r = fd;
	if (fd >= 0) {
		r = SYS3(SYS_write, fd, what, length(what));
		close_fd(fd);
	}
	return r < 0 ? fail("write", path, r) : 0;
}

static const char *one_id(u64 id)
{
	static char map[64];
	char digits[24], *p = digits + sizeof digits;
	u64 n = 0;
	do
		*--p = (char)('0' + id % 10);
	while (id /= 10);
	for (int i = 0; i < 2; i++) {
		for (char *q = p; q < digits + sizeof digits; q++)
			map[n++] = *q;
		map[n++] = ' ';
	}
	map[n++] = '1';
	map[n] = 0;
	return map;
}

static long build_as_user(void)
{
	long r;
	own_userns = 1;
	if ((r = write_map("/proc/self/setgroups", "deny")) < 0 || (r = write_map("/proc/self/uid_map", one_id(uid))) < 0 ||
	    (r = write_map("/proc/self/gid_map", one_id(gid))) < 0 || (r = build()) < 0)
		return r;
	enter_cwd();
	return 0;
}

static long of_user, of_mounts, of_cwd;

/* In a process that shares this one's memory and open files, in namespaces of its own. */
static int in_child(void)
{
	if (build_as_user() < 0)
		return 1;
	of_user = open_at(AT_FDCWD, "/proc/self/ns/user", O_RDONLY);
	of_mounts = open_at(AT_FDCWD, "/proc/self/ns/mnt", O_RDONLY);
	of_cwd = open_at(AT_FDCWD, ".", O_PATH | O_DIRECTORY);
	if (of_user < 0 || of_mounts < 0) {
		fail("open", "/proc/self/ns", of_user < 0 ? of_user : of_mounts);
		return 1;
	}
	return 0;
}

/*
 * A user namespace cannot be left again. So another process makes it, with the view, and
 * this one enters when all is there: a program that runs without a view runs in no
 * namespace either.
 */
static long enter_as_user(void)
{
	/* So aligned the memory after the file's begins on a page, which kernels before 6.7 want. */
	static char stack[256 << 10] __attribute__((aligned(MAX_PAGE)));
	u32 status = 0;
	u64 all = ~0ul, mask = 0;
	/* If a terminal's signal stopped the one that this waits for, nothing would let both go on. */
	SYS4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, sizeof all);
	long r = spawn(CLONE_NEWUSER | CLONE_NEWNS | CLONE_VM | CLONE_VFORK | CLONE_FILES, stack + sizeof stack, in_child);
	if (r < 0)
		fail("clone", "", r);
	else if ((r = SYS4(SYS_wait4, r, &status, WALL, 0)) < 0)
		fail("wait", "", r);
	SYS4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, sizeof mask);
	if (r < 0)
		return r;
	if (status != 0) {
		if (!failed)
			fail("a signal ended it", "", 0);
		return -1;
	}
	if (of_cwd < 0) {
		/* Only the kernel can keep a working directory that its user may not search. */
		r = SYS1(SYS_unshare, CLONE_NEWUSER | CLONE_NEWNS);
		if (r < 0)
			return fail("unshare", "", r);
		undo_used = 0;
		return build_as_user();
	}
	if ((r = SYS2(SYS_setns, of_user, CLONE_NEWUSER)) < 0 || (r = SYS2(SYS_setns, of_mounts, CLONE_NEWNS)) < 0 ||
	    (r = SYS1(SYS_fchdir, of_cwd)) < 0)
		return fail("setns", "", r);
	return 0;
}

#ifndef REFRESH

/* ---- linkers ---- */

#if defined(__x86_64__)
#define SYSTEM_LOADER "/lib64/ld-linux-x86-64.so.2"
#else
#define SYSTEM_LOADER "/lib/ld-linux-aarch64.so.1"
#endif

/* loader_in returns the loader that an option names in its own argument, or 0; asks says whether it wants the next one. */
static const char *loader_in(const char *argument, int *asks)
{
	static const char option[] = "-dynamic-linker";
	const char *p = argument + (argument[0] == '-' && argument[1] == '-');
	u64 i = 0;
	while (option[i] && p[i] == option[i])
		i++;
	*asks = !option[i] && !p[i];
	return !option[i] && p[i] == '=' ? p + i + 1 : 0;
}

/*
 * run_linker runs the program so that what it makes loads the view's libraries, by the path that they have for
 * everybody: with their loader in place of the system's, and a search path after all others. A file of arguments
 * is not read: what names another loader there is overruled.
 */
static long run_linker(char **argv, char **envp)
{
	static struct text loader, option, dir;
	static char target[PATH];
	int asks = 0, loads = 0, other = 0, files = 0, shared = 0;
	u64 n = 0;
	long r = SYS4(SYS_readlinkat, AT_FDCWD, at(host, "/view/libs/loader", ""), target, sizeof target - 1);
	while (argv[n])
		n++;
	if (r <= 0 || n == 0)
		return run(program, argv, envp);
	target[r] = 0;
	set(&loader, prefix);
	add(&loader, "/current-system/view/");
	add(&loader, target);
	set(&dir, "");
	for (const char *p = loader.s, *slash = last_slash(p); p < slash; p++)
		add_char(&dir, *p);
	set(&option, "--dynamic-linker=");
	add(&option, loader.s);
	if (option.cut)
		return run(program, argv, envp);
	char *args[n + 4];
	for (u64 i = 0; i < n; i++) {
		const char *named = asks ? argv[i] : 0;
		int was_asked = asks;
		args[i] = argv[i];
		if (!was_asked)
			named = loader_in(argv[i], &asks);
		else
			asks = 0;
		if (named && equal(named, SYSTEM_LOADER)) {
			args[i] = was_asked ? loader.s : option.s;
			loads = 1;
		} else if (named) {
			other = 1;
		}
		files |= !was_asked && argv[i][0] == '@';
		shared |= equal(argv[i], "-shared") || equal(argv[i], "--shared") || equal(argv[i], "-Bshareable");
	}
	if (files && !loads && !other)
		args[n++] = option.s;
	if (!other && (loads || files || shared)) {
		args[n++] = "-rpath";
		args[n++] = dir.s;
	}
	args[n] = 0;
	return run(program, args, envp);
}

/* is_itself says whether a path leads to this very program: where a view has lost its linker, its launcher is there. */
static int is_itself(const char *path)
{
	struct statx is, own_file;
	return stat_at(AT_FDCWD, path, 0, &is) == 0 && stat_at(AT_FDCWD, "/proc/self/exe", 0, &own_file) == 0 &&
	       same_file(&is, &own_file);
}

/* ---- where all begins ---- */

/* is_default says whether a path leads through the active generation, and not to a certain tree. */
static int is_default(const char *path)
{
	const char *p = prefix, *farm = "/current-system/";
	while (*p)
		if (*path++ != *p++)
			return 0;
	while (*farm)
		if (*path++ != *farm++)
			return 0;
	return 1;
}

static long enter(u64 permitted, int may_mount)
{
	struct statx want, is;
	near = host;
	long r = stat_at(AT_FDCWD, at(view, "/usr", ""), 0, &want);
	if (r < 0)
		return fail("open", view, r);
	nested = stat_at(AT_FDCWD, IN_VIEW(""), 0, &is) == 0;
	if (nested && !*more && same_file(&is, &want) && (!*libs || type_of(LIBS_SEEN, AT_SYMLINK_NOFOLLOW)))
		return 0;
	/*
	 * A program that another one starts, as a compiler does its linker, belongs to that one's view: if it is the very
	 * program there, or was called as the default one, whichever that may be.
	 */
	if (nested && !*libs && !*more && stat_at(AT_FDCWD, at(near, "/view", program), 0, &is) == 0 &&
	    (is_default(called) || (stat_at(AT_FDCWD, at(view, program, ""), 0, &want) == 0 && same_file(&is, &want))))
		return 0;
	find_cwd();
	if (may_mount)
		return enter_as_root();
	/* In a user namespace a capability is worth nothing to the host. A desktop's session has this one. */
	if (permitted & ~(1ul << CAP_WAKE_ALARM))
		return fail("it has capabilities that a user's view would take from it", "", 0), -EPERM;
	return enter_as_user();
}

__attribute__((noreturn, used)) void start(u64 *stack)
{
	char **argv = (char **)(stack + 1), **envp = argv + stack[0] + 1;
	u64 *aux = (u64 *)envp, euid = 0, egid = 0, secure = 0;
	struct cap_header header = {CAP_VERSION, 0};
	struct cap_data caps[2] = {{0, 0, 0}, {0, 0, 0}};
	while (*aux)
		aux++;
	for (aux++; *aux; aux += 2)
		switch (*aux) {
		case AT_UID: uid = aux[1]; break;
		case AT_EUID: euid = aux[1]; break;
		case AT_GID: gid = aux[1]; break;
		case AT_EGID: egid = aux[1]; break;
		case AT_SECURE: secure = aux[1]; break;
		case AT_EXECFN: called = (const char *)aux[1]; break;
		}

	const char *s = config;
	const char **strings[] = {&view, &host, &program, &fallback, &prefix, &keep, &own, &libs, &more};
	for (u64 i = 0; i < sizeof strings / sizeof *strings; i++) {
		*strings[i] = s;
		s += length(s) + 1;
	}

	long r = SYS2(SYS_capget, &header, caps);
	if (r < 0) {
		fail("capget", "", r);
		refuse();
	}
	int may_mount = (caps[0].effective & (1u << CAP_SYS_ADMIN)) != 0;
	if (secure && (uid != euid || gid != egid)) {
		fail("it was called with the rights of two users", "", 0);
		refuse();
	}
	lent = secure && may_mount;
	if (*own && !type_of(fallback, 0))
		fallback = own;
	if (lent) {
		SYS5(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
		if (!roots_alone("/usr") || !roots_alone(prefix) || !roots_alone(host) || !roots_alone(view) ||
		    (*fallback && !roots_alone(fallback))) {
			if (in_first_userns())
				refuse();
			drop(); /* and without it the caller is a user like others, whose files in /proc are its own */
			SYS5(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
			may_mount = lent = 0;
			caps[0].permitted = caps[1].permitted = 0;
		}
	}
	r = enter(caps[0].permitted | (u64)caps[1].permitted << 32, may_mount);
	drop();
	if (r >= 0 && equal(libs, "linker") && is_itself(program)) {
		fail("open the linker at", program, 0);
	} else if (r >= 0) {
		r = equal(libs, "linker") ? run_linker(argv, envp) : run(program, argv, envp);
		fail("exec", program, r);
	}
	if (!*fallback || !type_of(fallback, 0))
		refuse();
	say("it runs without its view", ", and may not find some of its files");
	r = run(fallback, argv, envp);
	fail("exec", fallback, r);
	refuse();
}

#endif

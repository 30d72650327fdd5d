/*
 * Shows programs that run in a view what has become of the host's files. An overlay goes
 * on showing what it has shown once, so that a fresh one is laid over it. The comment of
 * Go function Refresher says who starts this program, and what it promises.
 */

#define REFRESH
static unsigned long more_flags; /* what the old overlay forbids */
#define MORE_FLAGS more_flags

#include "launcher.c"

#define STATX_ATTR_MOUNT_ROOT 0x2000
#define OVERLAYFS 0x794c7630
#define UMOUNT_NOFOLLOW 8
#define MOVE_MOUNT_BENEATH 0x200

/* What its caller has opened: two namespaces, and the host's own directories. */
enum { MOUNTS = 3, USER, HOST_USR, VIEW };

enum { DONE, FAILED, NOT_OURS };

/* The old view is kept in a directory of that name beside `usr` and `view`. */
static struct text old_host;
#define IN_OLD(rel) at(near, "/old/usr", rel)

static int is_mount(const char *path)
{
	struct statx st;
	return stat_at(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &st) == 0 && (st.attributes & STATX_ATTR_MOUNT_ROOT);
}

static int are_same(const char *a, const char *b)
{
	struct statx x, y;
	return stat_at(AT_FDCWD, a, 0, &x) == 0 && stat_at(AT_FDCWD, b, 0, &y) == 0 && same_file(&x, &y);
}

/* is_stale says whether the old view has an overlay of ours at a path, which is made anew. */
static int is_stale(const char *rel)
{
	struct statfs fs;
	return SYS2(SYS_statfs, IN_OLD(rel), &fs) == 0 && fs.type == OVERLAYFS && !are_same(IN_OLD(rel), IN_HOST(rel));
}

/* keep_mount mounts again what the program has mounted since. */
static long keep_mount(const char *unused, const char *rel)
{
	(void)unused;
	if (is_stale(rel) || (is_mount(IN_USR(rel)) && are_same(IN_USR(rel), IN_OLD(rel))))
		return 0;
	return bind(IN_OLD(rel), IN_USR(rel), MS_REC);
}

static long clone_of(const char *path, u64 recursive)
{
	long fd = SYS3(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | O_CLOEXEC | recursive);
	return fd < 0 ? fail("open_tree", path, fd) : fd;
}

/* put mounts what clone_of has returned, in a directory that it makes. */
static long put(long tree, const char *path)
{
	long r = SYS3(SYS_mkdirat, AT_FDCWD, path, 0755);
	if (r < 0)
		return fail("make", path, r);
	r = SYS5(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
	close_fd(tree);
	return r < 0 ? fail("mount", path, r) : 0;
}

static long enter_namespace(int fd, u64 kind)
{
	long r = SYS2(SYS_setns, fd, kind);
	return r < 0 ? fail("setns", kind == CLONE_NEWUSER ? "user" : "mnt", r) : 0;
}

/*
 * make_anew makes the view anew, in a copy of the namespace, of which nothing is seen in
 * the program's, and returns it as a tree that is mounted nowhere.
 */
static long make_anew(void)
{
	long usr, seen, old, r;
	struct statfs fs;
	const char *place = host;
	if ((r = SYS2(SYS_statfs, "/usr", &fs)) < 0)
		return fail("statfs", "/usr", r);
	more_flags = fs.flags & (MS_NOSUID | MS_NODEV | MS_NOEXEC);
	libs = type_of(LIBS_SEEN, AT_SYMLINK_NOFOLLOW) ? "1" : "";
	if ((r = SYS1(SYS_unshare, CLONE_NEWNS)) < 0)
		return fail("unshare", "", r);
	if ((r = mount(0, "/", 0, MS_REC | MS_SLAVE, 0)) < 0)
		return fail("keep mounts from the host at", "/", r);
	if ((usr = clone_of(IN_HOST(""), AT_RECURSIVE)) < 0 || (seen = clone_of(at(near, "/view", ""), 0)) < 0 ||
	    (old = clone_of("/usr", AT_RECURSIVE)) < 0)
		return -1;
	if ((r = mount("hashpkg", host, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")) < 0)
		return fail("mount", host, r);
	if (below(prefix, "/usr")) { /* and will be covered */
		if ((r = SYS1(SYS_chdir, host)) < 0)
			return fail("chdir", host, r);
		near = ".";
	}
	if ((r = put(usr, IN_HOST(""))) < 0 || (r = put(seen, at(near, "/view", ""))) < 0)
		return r;
	if ((r = SYS3(SYS_mkdirat, AT_FDCWD, at(near, "/old", ""), 0755)) < 0)
		return fail("make", "old", r);
	if ((r = put(old, IN_OLD(""))) < 0)
		return r;
	find_first_names();
	if ((r = cover()) < 0)
		return r;
	set(&old_host, host);
	add(&old_host, "/old");
	host = old_host.s; /* for submounts */
	r = submounts("", keep_mount);
	host = place;
	return r < 0 ? r : clone_of("/usr", AT_RECURSIVE);
}

/*
 * show puts the new view in place of the old one: beneath it, which is then taken away, or
 * over it. There is no moment without a view.
 */
static long show(long tree, int beneath)
{
	long r = -EINVAL;
	if (beneath) {
		r = SYS5(SYS_move_mount, tree, "", AT_FDCWD, "/usr", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_BENEATH);
		if (r >= 0 && (r = SYS2(SYS_umount2, "/usr", MNT_DETACH | UMOUNT_NOFOLLOW)) < 0)
			return fail("umount", "/usr", r);
	}
	if (r < 0)
		r = SYS5(SYS_move_mount, tree, "", AT_FDCWD, "/usr", MOVE_MOUNT_F_EMPTY_PATH);
	return r < 0 ? fail("mount", "/usr", r) : 0;
}

static int has(const char *letters, char c)
{
	while (*letters && *letters != c)
		letters++;
	return *letters != 0;
}

/* refresh does it. how has letters: u for a user's namespace, v to compare the view, b for beneath. */
static int refresh(const char *how)
{
	struct statx usr, own, is;
	long r = stat_at(HOST_USR, "", AT_EMPTY_PATH, &usr);
	if (r < 0 || (r = stat_at(VIEW, "", AT_EMPTY_PATH, &own)) < 0)
		return fail("stat", "", r), FAILED;
	close_fd(HOST_USR); /* the namespace may be one of who means harm */
	close_fd(VIEW);
	own_userns = has(how, 'u');
	if (own_userns && enter_namespace(USER, CLONE_NEWUSER) < 0)
		return FAILED;
	if (enter_namespace(MOUNTS, CLONE_NEWNS) < 0)
		return FAILED;
	near = host;
	if (stat_at(AT_FDCWD, IN_HOST(""), 0, &is) < 0 || !same_file(&is, &usr) || !is_mount("/usr"))
		return NOT_OURS;
	if (has(how, 'v') && (stat_at(AT_FDCWD, at(near, "/view", ""), 0, &is) < 0 || !same_file(&is, &own)))
		return NOT_OURS;
	if ((r = make_anew()) < 0 || enter_namespace(MOUNTS, CLONE_NEWNS) < 0 || show(r, has(how, 'b')) < 0)
		return FAILED;
	return DONE;
}

__attribute__((noreturn, used)) void start(u64 *stack)
{
	static struct text line;
	char **argv = (char **)(stack + 1);
	view = config;
	host = view + length(view) + 1;
	program = host + length(host) + 1;
	fallback = program + length(program) + 1;
	prefix = fallback + length(fallback) + 1;
	int status = stack[0] == 2 ? refresh(argv[1]) : NOT_OURS;
	if (status == FAILED) {
		set(&line, "");
		add_reason(&line);
		SYS3(SYS_write, 2, line.s, line.n);
	}
	end(status);
}

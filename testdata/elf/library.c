/* A library for the golden digests of the editor: it needs libc.so.6 in a version, has
   relocations against symbols of its own, and constructors. */
extern int atexit(void (*)(void));
static int n = 6;
int value(void) { return n; }
int twice(void) { return 2 * value(); }
int (*const table[])(void) = {value, twice};
static void leave(void) { n = 0; }
__attribute__((constructor)) static void enter(void) { atexit(leave); n = table[0]() + 1; }

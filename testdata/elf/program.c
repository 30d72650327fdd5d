/* A program for the golden digests of the editor. */
extern int twice(void), puts(const char *);
int main(void) { return puts("golden") < 0 || twice() != 14; }
void _start(void) { main(); __builtin_trap(); }

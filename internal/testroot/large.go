package testroot

// LargePackages make a root of some 1250 packages and 4 GB, with the programs
// and libraries of servers, desktops and developers: other languages' own
// plugins, loaders' paths within programs, setuid programs, daemons. Fetching
// and installing them takes some minutes, unpacking the root from the cache and
// removing it up to one, so it is for `make test-system` and the benchmarks.
var LargePackages = []string{
	// What developers use.
	"build-essential", "cmake", "default-jre-headless", "emacs-nox", "fish", "gdb", "git", "ipython3", "mercurial", "nodejs",
	"r-base-core", "ruby", "strace", "subversion", "tmux", "valgrind", "vim", "zsh",
	"libdbd-pg-perl", "libgtk3-perl", "libwww-perl", "libxml-libxml-perl",
	"python3-gi", "python3-lxml", "python3-matplotlib", "python3-numpy", "python3-pil", "python3-psycopg2", "python3-requests", "python3-scipy",
	// Servers.
	"apache2", "bind9", "cups", "mariadb-server", "network-manager", "nginx", "openssh-server", "php-cli", "php-fpm", "php-gd",
	"php-mysql", "php-pgsql", "postfix", "postgresql", "redis-server", "rsync", "samba", "sqlite3", "systemd-sysv",
	"libvirt-clients", "podman", "qemu-system-x86", "qemu-utils",
	// Desktops and media.
	"eog", "evince", "ffmpeg", "gedit", "ghostscript", "gimp", "gnuplot-nox", "graphviz", "gstreamer1.0-plugins-good", "gstreamer1.0-tools",
	"imagemagick", "inkscape", "kate", "mesa-utils", "mpv", "okular", "sox", "texlive-binaries", "vlc", "xserver-xorg-core", "xterm",
	// What everybody has.
	"curl", "gawk", "gnupg", "htop", "jq", "mc", "nmap", "openssh-client", "wget",
}

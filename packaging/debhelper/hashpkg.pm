# The sequence addon hashpkg of dh(1): see dh_hashpkg(1).
use strict;
use warnings;

# Files are what they will be, and their dependencies are known; checksums are still to come.
insert_before('dh_installdeb', 'dh_hashpkg');

1;

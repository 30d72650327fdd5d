package testrpm

import (
	"cmp"
	"os"
	"path/filepath"
)

// CentOS returns the rpms of a directory with packages of CentOS 7, which tests
// read in addition to those of testdata/rpms: $HASHPKG_TEST_CENTOS, or else
// ../shared/rpms/centos7 beside the repository, whose path it is given. There are
// none where there is no such directory: no archive that tests use has them.
func CentOS(repository string) []string {
	dir := cmp.Or(os.Getenv("HASHPKG_TEST_CENTOS"), filepath.Join(repository, "../shared/rpms/centos7"))
	files, err := filepath.Glob(filepath.Join(dir, "*.rpm"))
	if err != nil { // a pattern in the directory's name
		return nil
	}
	return files
}

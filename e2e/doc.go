// Package e2e tests the program hashpkg as its users run it: each test builds it,
// or a package of it, and runs it on roots, which are small ones of its own making
// or whole systems with dpkg or rpm (package testroot).
//
// It has tests only. A file is named by the command that it tests, or by what it
// does to all of them: faults_test.go kills them and lets their system calls fail,
// powercut_test.go and powercuts_test.go cut the power of the disk, races_test.go lets
// package managers work beside them, limits_test.go gives them packages that are small
// and would be large, hostile_test.go gives them images
// that lead out of themselves, repo_test.go servers and repositories that are not as they
// should be; disturbed_test.go compares a machine on which hashpkg is disturbed with one
// that has none. script_test.go runs testdata/scripts, in which
// there is a script or more for each command. What a package does by itself is
// tested beside the package. work_test.go has some eighty programs of whole systems
// do their work, before and after (make test-system), and shows of each that it cannot
// without a file that it needs. byname_test.go installs 66 programs by name from three
// releases into one system. completion_test.go types at shells. programs_test.go has some
// two hundred programs of other releases do their work (make programs); its cases are
// proved by systems of these releases themselves. env_test.go builds projects of several build
// systems with libraries of other releases. generated_test.go is about indexes that are
// made for views. image_test.go runs programs in containers of images that hashpkg has made, and sends
// these to a registry. firstminute_test.go is somebody without
// privileges.
// debhelper_test.go builds Debian packages with the addon of debhelper, and debiansources_test.go those of a dozen
// sources of Debian, which debiansourcecases_test.go names; debiansourcesinstalled_test.go installs them.
// repository_test.go makes the repositories of scripts. published_test.go makes those of hashpkg's own
// packages, and has apt and dnf use them. personas_test.go
// has people type at terminals of tmux, by the files in personas, which have the screens that they see.
package e2e

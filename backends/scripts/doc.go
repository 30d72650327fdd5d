// Package scripts says what the maintainer scripts of a package would do when it is
// installed for the first time, and runs none of them: [Read].
//
// A script is parsed and evaluated by this package itself. Commands that matter are
// recorded (update-alternatives, mkdir, adduser and the like), a few that only compute
// are computed (test, basename, sed in simple uses), and every other one is taken to
// succeed and to do nothing. A file that a script asks for is there if the package has
// it, or if it is a directory that every system has. So nothing of the host is read, no
// process is started, and a script that does not end, or grows, comes to the end of
// what it may take: [Read] says so and returns what it knows until then.
//
// What a command would print that is not known, such as the answer to a question, is an
// unknown value. It is carried along: a path that holds one is recorded nowhere, and a
// test of one decides for "no". Where that may have cost an effect, Unread says so.
//
// # Left to the caller
//
// Which scripts run at a first installation, and with which arguments, each format says
// in [pkginfo.Script]. That a path of an alternative leads to a file is not verified.
//
// # Size
//
// It is one package of some four thousand lines because each construct of
// the shell is evaluated in terms of the others.
package scripts

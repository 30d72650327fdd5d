package pkginfo

// Effects is what scripts of a package would do to a system, as far as others have
// to know it.
type Effects struct {
	// Alternatives are in the order in which they would be registered, of each name
	// and path the last.
	Alternatives []Alternative
	Made         Made
	// Unread says, for people, what of the scripts was not understood and may have
	// such effects: "postinst, line 12: ...".
	Unread []string
}

// Made is what scripts would make.
type Made struct {
	Directories []MadeDirectory `json:"directories,omitempty"` // sorted by path; those below /var may be in the package, and have another owner or mode then
	Copies      []MadeCopy      `json:"copies,omitempty"`      // sorted by To
	Users       []string        `json:"users,omitempty"`       // sorted
	Groups      []string        `json:"groups,omitempty"`      // sorted
	Accounts    []MadeAccount   `json:"accounts,omitempty"`    // of Users, those of whom scripts say more than the name; sorted by it
}

// MadeAccount is what scripts give a user whom they make, as they have it. What is empty is
// left to the program that makes users.
type MadeAccount struct {
	Name  string `json:"name"`
	Group string `json:"group,omitempty"` // the first one, where it is not called as the user
	Home  string `json:"home,omitempty"`
	Shell string `json:"shell,omitempty"`
}

// MadeCopy is a file of a package that scripts copy to /etc, both as absolute paths.
type MadeCopy struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Alternative is a file that a package offers under a name which others offer files
// for, too: update-alternatives(1).
type Alternative struct {
	Name     string  `json:"name"`     // of the group: "editor"
	Link     string  `json:"link"`     // where its users look, an absolute path: "/usr/bin/editor"
	Path     string  `json:"path"`     // the file, an absolute path: "/usr/bin/vim.basic"
	Priority int     `json:"priority"` // the highest is used unless somebody chooses
	Slaves   []Slave `json:"slaves,omitempty"`
}

// Slave is a link that goes with an alternative, as its manual page.
type Slave struct {
	Name string `json:"name"`
	Link string `json:"link"` // an absolute path
	Path string `json:"path"` // an absolute path
}

// MadeDirectory is a directory that a script would make.
type MadeDirectory struct {
	Path  string `json:"path"`            // absolute
	Mode  string `json:"mode,omitempty"`  // as the script has it: "0750", "u=rwx"
	Owner string `json:"owner,omitempty"` // as the script has it: "mysql", "mysql:adm"
}

package record

import (
	"fmt"
	"strings"

	"github.com/hashpkg/hashpkg/layout"
)

// ServicesPath is the path, relative to the prefix, of the record of services.
const ServicesPath = layout.SystemDir + "/services.json"

// Services is the record of systemd units that were written for private packages. It is
// durable before a unit's file changes.
type Services struct {
	Layout int       `json:"layout"` // FormatVersion
	List   []Service `json:"services"`
}

// Service is one such unit.
type Service struct {
	Name    string `json:"name"` // of the unit, without ".service"
	Package string `json:"package"`
	Version string `json:"version,omitempty"` // that somebody asked for; "" for the default one
	Unit    string `json:"unit,omitempty"`    // of the package's that it was made of; "" for Command
	Command string `json:"command,omitempty"`
	User    string `json:"user,omitempty"` // who runs Command
	// Trees are those that the unit names, views included.
	Trees []string `json:"trees"`
	// Is is what hashpkg may have written, the newest first: the BLAKE3 of the file. What is
	// something else, somebody has changed.
	Is []string `json:"is"`
}

// IsServiceName reports whether a text names a unit of a service, without an instance.
func IsServiceName(name string) bool {
	return name != "" && len(name) < 200 && name[0] != '.' && name[0] != '-' &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}

func (s *Services) check() error {
	for _, one := range s.List {
		if !IsServiceName(one.Name) {
			return fmt.Errorf("%q names no service", one.Name)
		}
		if err := layout.CheckName(one.Package); err != nil {
			return err
		}
	}
	return nil
}

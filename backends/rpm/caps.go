package rpm

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// capabilityNames are in the order of their numbers: linux/capability.h.
var capabilityNames = []string{
	"cap_chown", "cap_dac_override", "cap_dac_read_search", "cap_fowner", "cap_fsetid",
	"cap_kill", "cap_setgid", "cap_setuid", "cap_setpcap", "cap_linux_immutable",
	"cap_net_bind_service", "cap_net_broadcast", "cap_net_admin", "cap_net_raw", "cap_ipc_lock",
	"cap_ipc_owner", "cap_sys_module", "cap_sys_rawio", "cap_sys_chroot", "cap_sys_ptrace",
	"cap_sys_pacct", "cap_sys_admin", "cap_sys_boot", "cap_sys_nice", "cap_sys_resource",
	"cap_sys_time", "cap_sys_tty_config", "cap_mknod", "cap_lease", "cap_audit_write",
	"cap_audit_control", "cap_setfcap", "cap_mac_override", "cap_mac_admin", "cap_syslog",
	"cap_wake_alarm", "cap_block_suspend", "cap_audit_read", "cap_perfmon", "cap_bpf",
	"cap_checkpoint_restore",
}

// capabilitySets are three sets of capabilities, a bit for each.
type capabilitySets struct{ effective, permitted, inheritable uint64 }

// encodeCapabilities returns the value of the extended attribute
// security.capability for capabilities written as in cap_from_text(3), and "" for
// none: version 2 of struct vfs_cap_data in linux/capability.h.
func encodeCapabilities(text string) (string, error) {
	s, err := parseCapabilities(text)
	if err != nil {
		return "", err
	}
	if s == (capabilitySets{}) {
		return "", nil
	}
	const version2, effectiveFlag = 0x02000000, 1
	magic := uint32(version2)
	if s.effective != 0 {
		// In a file, "effective" is one bit for all of them.
		if (s.permitted|s.inheritable)&^s.effective != 0 {
			return "", fmt.Errorf("some but not all of them are effective, which a file cannot say")
		}
		magic |= effectiveFlag
	}
	b := binary.LittleEndian.AppendUint32(nil, magic)
	for _, shift := range []int{0, 32} {
		b = binary.LittleEndian.AppendUint32(b, uint32(s.permitted>>shift))
		b = binary.LittleEndian.AppendUint32(b, uint32(s.inheritable>>shift))
	}
	return string(b), nil
}

// parseCapabilities reads clauses such as "cap_net_raw,cap_kill=ep" and
// "= cap_chown+i".
func parseCapabilities(text string) (capabilitySets, error) {
	var s capabilitySets
	for _, clause := range strings.Fields(text) {
		i := strings.IndexAny(clause, "=+-")
		if i < 0 {
			return s, fmt.Errorf("%q has no operator", clause)
		}
		mask, err := capabilityMask(clause[:i], clause[i])
		if err != nil {
			return s, err
		}
		for actions := clause[i:]; actions != ""; {
			operator := actions[0]
			n := 1 + len(actions[1:]) - len(strings.TrimLeft(actions[1:], "eip"))
			flags := actions[1:n]
			if !strings.ContainsRune("=+-", rune(operator)) || flags == "" && operator != '=' {
				return s, fmt.Errorf("%q is not understood", clause)
			}
			s.apply(operator, flags, mask)
			actions = actions[n:]
		}
	}
	return s, nil
}

// capabilityMask returns the bits of a list of names. An empty one, before "=",
// and "all" are all that there are.
func capabilityMask(list string, operator byte) (uint64, error) {
	all := uint64(1)<<len(capabilityNames) - 1
	if list == "" && operator == '=' {
		return all, nil
	}
	var mask uint64
	for name := range strings.SplitSeq(strings.ToLower(list), ",") {
		if name == "all" {
			mask |= all
			continue
		}
		n := slices.Index(capabilityNames, name)
		if n < 0 {
			number, err := strconv.ParseUint(name, 10, 6)
			if err != nil {
				return 0, fmt.Errorf("%q is not a known capability", name)
			}
			n = int(number)
		}
		mask |= 1 << n
	}
	return mask, nil
}

func (s *capabilitySets) apply(operator byte, flags string, mask uint64) {
	for _, set := range []struct {
		letter string
		bits   *uint64
	}{{"e", &s.effective}, {"p", &s.permitted}, {"i", &s.inheritable}} {
		named := strings.Contains(flags, set.letter)
		switch {
		case operator == '=' && !named, operator == '-' && named:
			*set.bits &^= mask
		case named:
			*set.bits |= mask
		}
	}
}

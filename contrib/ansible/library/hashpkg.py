#!/usr/bin/python
# Copyright the hashpkg authors
# SPDX-License-Identifier: Apache-2.0
"""The Ansible module for hashpkg. It runs hashpkg --json, and needs Python 3.6 and nothing else."""

DOCUMENTATION = r"""
module: hashpkg
short_description: Install, remove and pin versions of packages side by side
description:
  - Installs packages into trees of their own, removes them, and pins programs of the system to
    versions of libraries, by the command C(hashpkg), which must be there.
options:
  name:
    description:
      - With I(state=present) or I(state=absent), packages as C(NAME) or C(NAME=VERSION), and with
        I(state=present) also files, C(/path/jq_1.6_amd64.deb), as well as C(NAME/SUITE) and
        C(NAME:ARCHITECTURE).
      - With I(state=pinned) or I(state=unpinned), libraries as C(LIBPACKAGE=VERSION).
      - A name without version is present when any version is.
    type: list
    elements: str
    aliases: [package, pkg]
  state:
    description:
      - C(present) installs what is missing; C(absent) takes packages, or the named versions, out.
      - C(pinned) has I(program) load these versions of libraries, C(unpinned) takes that back,
        without I(name) for all of its pins.
    type: str
    choices: [present, absent, pinned, unpinned]
    default: present
  program:
    description:
      - Whose pins are meant; a path, the name of a package, or C(*) for every program that loads
        the library.
    type: str
  from:
    description:
      - The release or source that packages come from, such as C(trixie). A package
        without version is present then when its version came from there.
    type: str
  recommends:
    description: Install what packages recommend as well.
    type: bool
    default: false
  keyring:
    description: Files of keys that packages or indexes are signed with.
    type: list
    elements: path
  signature:
    description: Whether packages must be signed; what hashpkg does by itself when it is not given.
    type: str
    choices: [require, "off"]
  root:
    description: The directory that is treated as C(/).
    type: path
    default: /
  prefix:
    description: Where the trees are, in I(root); what the settings say when it is not given.
    type: path
  wait:
    description: How long to wait for another hashpkg to end.
    type: str
    default: 5m
  executable:
    description: The command C(hashpkg); that in C(PATH) when it is not given.
    type: path
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: jq of trixie, beside the system's own
  hashpkg:
    name: jq
    from: trixie

- name: an old one is not needed any more
  hashpkg:
    name: jq=1.6-2.1+deb12u2
    state: absent

- name: curl stays on the library that it was tested with
  hashpkg:
    program: /usr/bin/curl
    name: libssl3=3.0.11-1~deb12u2
    state: pinned

- name: no pin of all programs any more
  hashpkg:
    program: "*"
    state: unpinned
"""

RETURN = r"""
generation:
  description: The active generation afterwards, with I(state=present) or I(state=absent).
  returned: when hashpkg says it
  type: int
packages:
  description: What was installed or removed, C(NAME=VERSION) each; in check mode, what would be.
  returned: with I(state=present) or I(state=absent)
  type: list
  elements: str
pins:
  description: The new pins, or those that are taken back, C(PROGRAM LIBPACKAGE=VERSION) each.
  returned: with I(state=pinned) or I(state=unpinned)
  type: list
  elements: str
programs:
  description: Paths of programs that were changed, with I(state=pinned) or I(state=unpinned).
  returned: with I(state=pinned) or I(state=unpinned)
  type: list
  elements: str
undo:
  description: The command that takes the change back.
  returned: where there is one
  type: str
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule


def is_file(name):
    """Whether hashpkg install takes a name for a file."""
    return name.startswith(("/", ".")) or name.endswith((".deb", ".rpm", ".udeb", ".ddeb")) or "/" in name and os.path.isfile(name)


def split(name):
    """The package, version, suite and architecture of NAME[:ARCHITECTURE][=VERSION][/SUITE]; "" for none."""
    name, _, suite = name.partition("/")
    name, _, version = name.partition("=")
    name, _, architecture = name.partition(":")
    return name, version, suite, architecture


def resolve(root, path):
    """The path in a root that a path leads to, with all links followed inside of the root."""
    done, todo, links = [], path.split("/"), 0
    while todo:
        part = todo.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            done = done[:-1]
            continue
        name = os.path.join(root, *(done + [part]))
        if not os.path.islink(name) or links == 40:
            done.append(part)
            continue
        links += 1
        target = os.readlink(name)
        if target.startswith("/"):
            done = []
        todo = target.split("/") + todo
    return "/" + "/".join(done)


def same_version(a, b):
    """Whether two spellings of a version are the same: in paths a colon is %3a."""
    return a.replace("%3a", ":") == b.replace("%3a", ":")


class Hashpkg:
    """Runs hashpkg, and ends the module when that fails."""

    def __init__(self, module):
        self.module = module
        params = module.params
        self.command = [params["executable"] or module.get_bin_path("hashpkg", required=True), "--json", "--root", params["root"]]
        if params["prefix"]:
            self.command += ["--prefix", params["prefix"]]
        self.dry = ["--dry-run"] if module.check_mode else []
        self.wait = ["--wait", params["wait"]]

    def run(self, *args):
        """The value that a command prints."""
        status, out, err = self.module.run_command(self.command + list(args))
        try:
            value = json.loads(out) if out.strip() else {}
        except ValueError:
            self.module.fail_json(msg="hashpkg %s says no JSON: %s%s" % (args[0], out, err), rc=status)
        for line in err.splitlines():
            try:
                said = json.loads(line).get("error")
            except (ValueError, AttributeError):
                said = None
            if said is None and line.startswith("warning: "):
                self.module.warn(line[len("warning: "):])
            if said is not None and status != 0:
                hint = said.get("hint") or ""
                self.module.fail_json(msg=said.get("message", line) + ("; " + hint if hint else ""), kind=said.get("kind"), rc=status)
        if status != 0:
            problems = [p.get("message", "") for p in value.get("problems") or []]
            self.module.fail_json(msg="hashpkg %s failed: %s" % (args[0], "; ".join(problems) or err.strip()), rc=status)
        for warning in value.get("warnings") or []:
            self.module.warn(warning)
        return value

    def installed(self):
        """The packages that hashpkg has installed in the active generation, as list shows them."""
        return self.run("list", "--private").get("packages", [])


def spec(package):
    return "%s=%s" % (package["name"], package["version"])


def listing(packages):
    return "".join("%s\n" % name for name in sorted(set(packages)))


def is_there(name, packages, release):
    """Whether a package that is named is one of those that are installed."""
    wanted, version, suite, architecture = split(name)
    release = suite or release
    for p in packages:
        if p["name"] != wanted or architecture and p["architecture"] != architecture:
            continue
        if version and not same_version(p["version"], version) or suite and p.get("release") != suite:
            continue
        if version or not release or p.get("release") == release:
            return True
    return False


def present(module, tool):
    params = module.params
    files = [n for n in params["name"] if is_file(n)]
    if files and len(files) < len(params["name"]):
        module.fail_json(msg="files of packages and names are not for one task, since they are two installs: %s" % ", ".join(files))
    if "/" in (params["from"] or ""):
        module.fail_json(msg="from is a release or a source, such as trixie; the packages of a directory are named by their files")
    before = tool.installed()
    args = []
    if params["from"]:
        args += ["--from", params["from"]]
    if params["recommends"]:
        args += ["--recommends"]
    if params["signature"]:
        args += ["--signature", params["signature"]]
    for keyring in params["keyring"] or []:
        args += ["--keyring", keyring]
    names = [n for n in params["name"] if not is_file(n) and not is_there(n, before, params["from"])]
    result = {"changed": False, "packages": []}
    added = []
    for group in (names, files):
        if not group:
            continue
        # Files and names are not for one command: files come alone.
        extra = args if group is names else [a for a in args if a != "--recommends"]
        if group is files and params["from"]:
            extra = extra[2:]
        if module.check_mode:
            would = tool.run("install", "--dry-run", *(extra + group))
            fresh = [spec(p) for p in would.get("packages") or would.get("trees") or [] if not p["active"]]
            result["changed"] = result["changed"] or bool(fresh)
            added += fresh
            continue
        done = tool.run("install", *(tool.wait + extra + group))
        result["changed"] = result["changed"] or bool(done.get("changed"))
        result["generation"] = done.get("generation")
    if not module.check_mode:
        known = set(spec(p) for p in before)
        added = [spec(p) for p in tool.installed() if spec(p) not in known] if result["changed"] else []
        if result["changed"]:
            result["undo"] = "hashpkg undo"
    result["packages"] = sorted(added)
    old = [spec(p) for p in before]
    result["diff"] = {"before": listing(old), "after": listing(old + added)}
    return result


def absent(module, tool):
    before = tool.installed()
    names = []
    for name in module.params["name"]:
        wanted, version, suite, architecture = split(name)
        if suite or architecture:
            module.fail_json(msg="%s: what goes is NAME or NAME=VERSION, of every release and architecture" % name)
        if any(p["name"] == wanted and (not version or same_version(p["version"], version)) for p in before):
            names.append(wanted + ("=" + version if version else ""))
    old = [spec(p) for p in before]
    result = {"changed": False, "packages": [], "diff": {"before": listing(old), "after": listing(old)}}
    if not names:
        return result
    done = tool.run("remove", *(tool.dry + tool.wait + names))
    gone = []
    for change in done.get("packages") or []:
        gone += ["%s=%s" % (change["name"], v) for v in change.get("removed") or []]
    result.update(changed=bool(done.get("changed")), generation=done.get("generation"), packages=sorted(gone))
    if done.get("undo"):
        result["undo"] = done["undo"]
    result["diff"]["after"] = listing([s for s in old if s not in gone])
    return result


def whose(module):
    """The program as hashpkg pin takes it."""
    program = module.params["program"]
    return ["--all"] if program == "*" else [program]


def pin_lines(pins):
    return ["%s %s=%s" % (p["program"], p["library"], p["version"]) for p in pins]


def pinned(module, tool):
    before = pin_lines(tool.run("pins").get("pins", []))
    done = tool.run("pin", *(tool.dry + tool.wait + whose(module) + module.params["name"]))
    fresh = pin_lines(done.get("pins") or [])
    replaced = [f.rpartition("=")[0] + "=" for f in fresh]
    after = [b for b in before if b.rpartition("=")[0] + "=" not in replaced] + fresh
    return pin_result(done, fresh, before, after)


def unpinned(module, tool):
    params = module.params
    pins = tool.run("pins").get("pins", [])
    programs = {params["program"]}
    if params["program"].startswith("/"):
        programs.add(resolve(params["root"], params["program"]))
    gone = []
    for p in pins:
        named = not params["name"] or any(
            p["library"] == split(n)[0] and (not split(n)[1] or same_version(p["version"], split(n)[1])) for n in params["name"])
        if p["program"] in programs and named:
            gone.append(p)
    before, lines = pin_lines(pins), pin_lines(gone)
    if not gone:
        return pin_result({}, [], before, before)
    changed = []
    for program in sorted(set(p["program"] for p in gone)):
        of = ["--all"] if program == "*" else [program]
        done = tool.run("unpin", *(tool.dry + tool.wait + of + ["%s=%s" % (p["library"], p["version"]) for p in gone if p["program"] == program]))
        changed += done.get("programs") or []
    return pin_result({"programs": changed}, lines, before, [b for b in before if b not in lines])


def pin_result(done, pins, before, after):
    programs = [p["path"] for p in done.get("programs") or []]
    return {
        "changed": bool(pins or programs), "pins": pins, "programs": programs,
        "diff": {"before": listing(before), "after": listing(after)},
    }


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "list", "elements": "str", "aliases": ["package", "pkg"]},
            "state": {"type": "str", "choices": ["present", "absent", "pinned", "unpinned"], "default": "present"},
            "program": {"type": "str"},
            "from": {"type": "str"},
            "recommends": {"type": "bool", "default": False},
            "keyring": {"type": "list", "elements": "path", "no_log": False},
            "signature": {"type": "str", "choices": ["require", "off"]},
            "root": {"type": "path", "default": "/"},
            "prefix": {"type": "path"},
            "wait": {"type": "str", "default": "5m"},
            "executable": {"type": "path"},
        },
        required_if=[
            ("state", "present", ("name",)), ("state", "absent", ("name",)),
            ("state", "pinned", ("name", "program")), ("state", "unpinned", ("program",)),
        ],
        supports_check_mode=True,
    )
    state = {"present": present, "absent": absent, "pinned": pinned, "unpinned": unpinned}[module.params["state"]]
    module.exit_json(**state(module, Hashpkg(module)))


if __name__ == "__main__":
    main()

package shells

// The lines have @DIR@ in the place of a directory of the farm. None of them starts a program.
const (
	posixLast = `case :${PATH:=/usr/local/bin:/usr/bin:/bin}: in
*:@bin@:*) ;;
*) export PATH="$PATH:"@bin@ ;;
esac
case :$PATH: in
*:@sbin@:*) ;;
*:/usr/sbin:*) PATH=$PATH:@sbin@ ;;
esac
`
	posixFirst = `case :${PATH:=/usr/local/bin:/usr/bin:/bin}: in
:@bin@:* | *:@bin@:*/usr/bin:*) ;;
*) export PATH=@bin@":$PATH" ;;
esac
case :$PATH: in
:@sbin@:* | *:@sbin@:*/usr/sbin:*) ;;
*:/usr/sbin:*) PATH=@sbin@:$PATH ;;
esac
`
	// An empty part of MANPATH stands for the default, also between others: manpath(5).
	posixShare = `case :${XDG_DATA_DIRS:=/usr/local/share:/usr/share}: in
*:@share@:*) ;;
*) export XDG_DATA_DIRS="$XDG_DATA_DIRS:"@share@ ;;
esac
case ${MANPATH:+:$MANPATH:} in
'' | *:@share/man@:*) ;;
*) MANPATH=$MANPATH:@share/man@ ;;
esac
`
	// Before compinit, which reads fpath.
	zshShare = `typeset -U fpath
fpath+=(@share/zsh/vendor-completions@ @share/zsh/site-functions@)
`

	fishLast = `contains -- @bin@ $PATH; or set -gx PATH $PATH @bin@
contains -- /usr/sbin $PATH; and not contains -- @sbin@ $PATH; and set -gx PATH $PATH @sbin@
`
	fishFirst = `set -gx PATH @bin@ (string match -v -- @bin@ $PATH)
contains -- /usr/sbin $PATH; and set -gx PATH @sbin@ (string match -v -- @sbin@ $PATH)
`
	// fish has read XDG_DATA_DIRS before.
	fishShare = `test -n "$XDG_DATA_DIRS"; or set -gx XDG_DATA_DIRS /usr/local/share:/usr/share
contains -- @share@ (string split : -- "$XDG_DATA_DIRS"); or set -gx XDG_DATA_DIRS "$XDG_DATA_DIRS:"@share@
set -q MANPATH[1]; and not contains -- @share/man@ $MANPATH; and set -gx MANPATH $MANPATH @share/man@
contains -- @share/fish/vendor_completions.d@ $fish_complete_path; or set -g fish_complete_path $fish_complete_path @share/fish/vendor_completions.d@
`
)

package transaction

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNamesIn(t *testing.T) {
	const text = "\x00/usr/share/vim/vim91\x00PATH=/usr/lib/perl5/:/usr/share/perl5?x /usr/bin/perl /usr/share/doc/x /opt/usr/share/x/y /usr/lib\x00" +
		"/etc/lynx/lynx.cfg\x00 /etc/ \"/etc/fonts/\" /usr/local/etc/x /etc/paperspecs\x00file:///etc/xml/catalog\x00a:///etc/x"
	want := []string{"/etc/fonts", "/etc/lynx/lynx.cfg", "/etc/paperspecs", "/etc/xml/catalog", "/usr/lib/perl5", "/usr/share/perl5", "/usr/share/vim/vim91"}
	if diff := cmp.Diff(want, namesIn([]byte(text))); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}

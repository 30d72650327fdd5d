package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// logins are those of podman, skopeo and buildah (containers-auth.json(5)), and then those of docker. It implements
// [authn.Keychain].
type logins struct{}

// Resolve implements [authn.Keychain]: without any login it is [authn.Anonymous].
func (logins) Resolve(target authn.Resource) (authn.Authenticator, error) {
	for _, file := range loginFiles() {
		found, err := file.find(target)
		if err != nil {
			return nil, fmt.Errorf("read logins: %s: %w", file.name, err)
		}
		if found != nil {
			return authn.FromConfig(authn.AuthConfig{Username: found.Username, Password: found.Password, Auth: found.Auth, IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken}), nil
		}
	}
	return authn.Anonymous, nil
}

// loginFile is a file with logins.
type loginFile struct {
	name     string
	isDocker bool // its names of registries may be addresses
}

// loginFiles returns where logins may be: first where REGISTRY_AUTH_FILE says, or where podman has them else.
func loginFiles() (files []loginFile) {
	const podman = "containers/auth.json"
	if name := os.Getenv("REGISTRY_AUTH_FILE"); name != "" {
		files = append(files, loginFile{name: name})
	} else {
		if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
			files = append(files, loginFile{name: filepath.Join(dir, podman)})
		}
		if dir, err := os.UserConfigDir(); err == nil {
			files = append(files, loginFile{name: filepath.Join(dir, podman)})
		}
	}
	dir := os.Getenv("DOCKER_CONFIG")
	if home, err := os.UserHomeDir(); dir == "" && err == nil {
		dir = filepath.Join(home, ".docker")
	}
	if dir != "" {
		files = append(files, loginFile{filepath.Join(dir, config.ConfigFileName), true})
	}
	return files
}

// find returns the login for a repository, nil for none. In podman's files a repository may have a login of its own, or one of the
// path that it stands below.
func (f loginFile) find(target authn.Resource) (*types.AuthConfig, error) {
	file, err := f.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	registry, key := target.RegistryStr(), target.String()
	if registry == name.DefaultRegistry { // its name in these files is another one
		registry = authn.DefaultAuthKey
		if !f.isDocker {
			registry, key = "docker.io", "docker.io"+strings.TrimPrefix(key, name.DefaultRegistry)
		}
	}
	for !f.isDocker && key != "" {
		if found := file.AuthConfigs[key]; isLogin(&found) {
			return &found, nil
		}
		key = key[:max(0, strings.LastIndexByte(key, '/'))]
	}
	if !f.isDocker && file.CredentialsStore == "" && file.CredentialHelpers[registry] == "" {
		return nil, nil
	}
	found, err := file.GetAuthConfig(registry)
	if err != nil || !isLogin(&found) {
		return nil, err
	}
	return &found, nil
}

func (f loginFile) read() (*configfile.ConfigFile, error) {
	file, err := os.Open(f.name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return config.LoadFromReader(file)
}

// isLogin reports whether anything but the name of a server is there.
func isLogin(a *types.AuthConfig) bool {
	return a.Username != "" || a.Password != "" || a.Auth != "" || a.IdentityToken != "" || a.RegistryToken != ""
}

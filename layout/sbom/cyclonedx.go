package sbom

import (
	"github.com/hashpkg/hashpkg/digest"
)

type cdxDocument struct {
	Format       string          `json:"bomFormat"`
	Version      string          `json:"specVersion"`
	Serial       string          `json:"serialNumber"`
	Revision     int             `json:"version"`
	Metadata     cdxMetadata     `json:"metadata"`
	Components   []cdxComponent  `json:"components"`
	Dependencies []cdxDependency `json:"dependencies"`
}

type cdxMetadata struct {
	Timestamp string       `json:"timestamp"`
	Tools     cdxTools     `json:"tools"`
	Component cdxComponent `json:"component"`
}

type cdxTools struct {
	Components []cdxComponent `json:"components"`
}

type cdxComponent struct {
	Type        string        `json:"type"`
	Ref         string        `json:"bom-ref,omitempty"`
	Name        string        `json:"name"`
	Version     string        `json:"version,omitempty"`
	Description string        `json:"description,omitempty"`
	Hashes      []cdxHash     `json:"hashes,omitempty"`
	PURL        string        `json:"purl,omitempty"`
	Properties  []cdxProperty `json:"properties,omitempty"`
}

type cdxHash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type cdxProperty struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type cdxDependency struct {
	Ref  string   `json:"ref"`
	Uses []string `json:"dependsOn,omitempty"`
}

// CycloneDX returns the bill as a document of CycloneDX 1.6 in JSON.
func CycloneDX(b *Bill) ([]byte, error) {
	d := cdxDocument{
		Format: "CycloneDX", Version: "1.6", Serial: "urn:uuid:" + b.uuid(), Revision: 1,
		Metadata: cdxMetadata{
			Timestamp: b.created(),
			Tools:     cdxTools{[]cdxComponent{{Type: "application", Name: "hashpkg", Version: b.Tool}}},
			Component: cdxComponent{Type: "platform", Ref: "prefix", Name: b.Name},
		},
		Components: []cdxComponent{}, Dependencies: []cdxDependency{},
	}
	all := cdxDependency{Ref: "prefix"}
	for i := range b.Packages {
		p := &b.Packages[i]
		kind := "library"
		if p.Program {
			kind = "application"
		}
		one := cdxComponent{
			Type: kind, Ref: p.id(), Name: p.Name, Version: p.Version, Description: p.Summary, PURL: p.PURL(),
			Properties: []cdxProperty{{"hashpkg:tree", p.Tree}, {"hashpkg:identity", p.Identity.String()}},
		}
		if p.Digest != (digest.Digest{}) {
			one.Hashes = []cdxHash{{"BLAKE3", p.Digest.String()}}
		}
		if p.File != "" {
			one.Properties = append(one.Properties, cdxProperty{"hashpkg:package-file", p.File})
		}
		if p.Source != "" {
			one.Properties = append(one.Properties, cdxProperty{"hashpkg:source", p.Source})
		}
		d.Components = append(d.Components, one)
		all.Uses = append(all.Uses, one.Ref)
	}
	d.Dependencies = append(d.Dependencies, all)
	for i := range b.Packages {
		uses := cdxDependency{Ref: b.Packages[i].id()}
		for _, j := range b.Packages[i].Needs {
			uses.Uses = append(uses.Uses, b.Packages[j].id())
		}
		d.Dependencies = append(d.Dependencies, uses)
	}
	return encode(d)
}

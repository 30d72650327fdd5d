package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/hashpkg/hashpkg/digest"
)

// SARIF returns findings as a log of the Static Analysis Results Interchange Format, version 2.1.0 (OASIS). Paths
// are relative to ROOT, the root in which files are installed. version is that of hashpkg.
func SARIF(findings []Finding, version string) ([]byte, error) {
	type message struct {
		Text string `json:"text"`
	}
	type rule struct {
		ID      string            `json:"id"`
		Short   message           `json:"shortDescription"`
		Help    message           `json:"help"`
		Default map[string]string `json:"defaultConfiguration"`
	}
	type artifact struct {
		URI  string `json:"uri"`
		Base string `json:"uriBaseId"`
	}
	type physical struct {
		Artifact artifact `json:"artifactLocation"`
	}
	type location struct {
		Physical physical `json:"physicalLocation"`
	}
	type result struct {
		Rule         string            `json:"ruleId"`
		Index        int               `json:"ruleIndex"`
		Level        Level             `json:"level"`
		Message      message           `json:"message"`
		Locations    []location        `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
		Properties   map[string]string `json:"properties"`
	}
	rules, index := []rule{}, map[string]int{}
	for i, c := range Checks() {
		index[c.ID] = i
		rules = append(rules, rule{c.ID, message{c.Title + "."}, message{sentence(c.Do)}, map[string]string{"level": string(c.Level)}})
	}
	results := make([]result, 0, len(findings))
	for _, f := range findings {
		uri := (&url.URL{Path: strings.TrimPrefix(f.File, "/")}).EscapedPath()
		results = append(results, result{
			Rule: f.ID, Index: index[f.ID], Level: f.Level,
			Message:      message{sentence(f.What) + " " + sentence(f.Do)},
			Locations:    []location{{physical{artifact{uri, "ROOT"}}}},
			Fingerprints: map[string]string{"finding/v1": digest.Of([]byte(f.ID + "\x00" + f.File + "\x00" + f.What)).String()},
			Properties:   map[string]string{"subject": f.Subject},
		})
	}
	log := map[string]any{
		"$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		"version": "2.1.0",
		"runs": []any{map[string]any{
			"tool": map[string]any{"driver": map[string]any{
				"name": "hashpkg audit", "version": version, "informationUri": "https://github.com/hashpkg/hashpkg", "rules": rules,
			}},
			"originalUriBaseIds": map[string]any{"ROOT": map[string]any{"description": message{"The root in which the files are installed."}}},
			"columnKind":         "unicodeCodePoints",
			"results":            results,
		}},
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(log); err != nil {
		return nil, fmt.Errorf("encode: %v", err)
	}
	return out.Bytes(), nil
}

// sentence ends a text as a sentence, whose first word may be the name of a file.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return text + "."
}

package pkginfo_test

import (
	"fmt"
	"slices"

	"github.com/hashpkg/hashpkg/backends/deb"
	"github.com/hashpkg/hashpkg/pkginfo"
)

// Versions are ordered, and looked at by a relation, as their format does it.
func ExampleOrders() {
	orders := pkginfo.Orders{deb.Name: deb.Format{}.Order()}
	versions := []string{"1.10-1", "1.9-1", "1:0.5-1", "1.10~rc1-1"}
	slices.SortFunc(versions, func(a, b string) int { return orders.Compare(deb.Name, a, b) })
	fmt.Println(versions)

	want := pkginfo.Constraint{Name: "libjq1", Operator: ">=", Version: "1.10"}
	for _, version := range versions {
		fmt.Println(want, version, orders.Satisfies(deb.Name, version, want))
	}
	// Output:
	// [1.9-1 1.10~rc1-1 1.10-1 1:0.5-1]
	// libjq1 (>= 1.10) 1.9-1 false
	// libjq1 (>= 1.10) 1.10~rc1-1 false
	// libjq1 (>= 1.10) 1.10-1 true
	// libjq1 (>= 1.10) 1:0.5-1 true
}

// Each alternative of a relation is enough.
func ExampleRelation() {
	fmt.Println(pkginfo.Relation{Alternatives: []pkginfo.Constraint{
		{Name: "libjq1", Operator: "=", Version: "1.6-2.1"},
		{Name: "libjq", Architecture: "any"},
	}})
	// Output: libjq1 (= 1.6-2.1) | libjq:any
}
